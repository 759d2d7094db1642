"""The coarse contrast: InfoNCE between two views of each history, the rest of the batch as negatives."""

from __future__ import annotations

from keras import KerasTensor, ops

from laclrec_tf.ops.replicas import n_replicas, whole_batch

SIMILARITIES = ("dot", "cosine")
NEVER = -1e9


def info_nce(
    view_1: KerasTensor, view_2: KerasTensor, temperature: float = 1.0, similarity: str = "dot"
) -> KerasTensor:
    """Average cross-entropy of finding each vector's other view among the batch's other `2 B - 1` vectors.

    Args:
        view_1: `[B, D]` float user vectors of one view.
        view_2: `[B, D]` float user vectors of the other, row by row.
        temperature: similarities are divided by it. Default: 1.
        similarity: "dot" or "cosine". Default: "dot".

    Returns:
        Scalar float32, the mean over all `2 B` vectors, those of all replicas included; inside a replica its share.

    Raises:
        ValueError: `similarity` is unknown or `temperature` is not above 0.

    Example:
        >>> views = ops.array([[1.0, 0.0], [0.0, 1.0]])
        >>> round(float(info_nce(views, views)), 4)  # log(e + 2) - 1
        0.5514

    Reference: CL4SRec (arXiv 2010.14395); LACLRec (arXiv 2503.20232), the coarse-grained contrastive loss.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"Argument `similarity` must be 'dot' or 'cosine'. Received: similarity={similarity!r}.")
    if temperature <= 0:
        raise ValueError(f"Argument `temperature` must be above 0. Received: temperature={temperature}.")
    # Each replica sees the whole batch: its other histories are negatives wherever they are computed.
    view_1, view_2 = (whole_batch(ops.cast(view, "float32")) for view in (view_1, view_2))
    vectors = ops.concatenate([view_1, view_2], axis=0)  # [2B, D]
    if similarity == "cosine":
        vectors = ops.normalize(vectors, axis=-1, epsilon=1e-12)
    logits = ops.matmul(vectors, ops.transpose(vectors)) / temperature  # [2B, 2B]
    rows = ops.arange(ops.shape(vectors)[0])
    itself = rows[:, None] == rows[None, :]
    logits = ops.where(itself, NEVER, logits)
    other_view = ops.roll(rows, ops.shape(view_1)[0])
    return ops.mean(_cross_entropy(logits, other_view)) / n_replicas()


def _cross_entropy(logits: KerasTensor, targets: KerasTensor) -> KerasTensor:
    picked = ops.squeeze(ops.take_along_axis(logits, targets[:, None], axis=1), axis=1)
    return ops.logsumexp(logits, axis=1) - picked
