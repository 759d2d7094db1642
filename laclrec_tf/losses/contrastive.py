"""Contrastive losses between the views of a history: InfoNCE, the coarse one, and the triplet, the fine one."""

from __future__ import annotations

from keras import KerasTensor, ops

from laclrec_tf.ops.replicas import n_replicas, share_of_mean, whole_batch

SIMILARITIES = ("dot", "cosine")
NEVER = -1e9


def triplet_loss(raw: KerasTensor, learned: KerasTensor, random: KerasTensor) -> KerasTensor:
    """Return the batch mean of `-log sigmoid(s(raw, learned) - s(raw, random))`, with `s` the dot product.

    This equals the released code's ratio of exponentials divided by the batch size. As a softplus it cannot overflow.

    Args:
        raw: `[B, D]` float user vectors of the raw histories.
        learned: `[B, D]` float user vectors of the learned views.
        random: `[B, D]` float user vectors of the random views.

    Returns:
        Scalar float32; inside a replica its share of the mean over all replicas.

    Example:
        >>> raw = ops.array([[1.0, 0.0]])
        >>> round(float(triplet_loss(raw, raw, -raw)), 4)  # log(1 + exp(-2))
        0.1269

    Reference: LACLRec (arXiv 2503.20232), the fine-grained contrastive loss.
    """
    raw, learned, random = (ops.cast(v, "float32") for v in (raw, learned, random))
    margin = ops.sum(raw * (learned - random), axis=-1)
    return share_of_mean(ops.sum(ops.softplus(-margin)), ops.cast(ops.shape(margin)[0], "float32"))


def info_nce(
    view_1: KerasTensor, view_2: KerasTensor, temperature: float = 1.0, similarity: str = "dot"
) -> KerasTensor:
    """Return the mean cross-entropy of each vector's other view against the batch's other `2 B - 1` vectors.

    Args:
        view_1: `[B, D]` float user vectors of one view.
        view_2: `[B, D]` float user vectors of the other view, in the same order.
        temperature: Divisor of the similarities. Default: 1.
        similarity: "dot" or "cosine". Default: "dot".

    Returns:
        Scalar float32, the mean over the `2 B` vectors of all replicas; inside a replica its share.

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
    # Each replica needs the vectors of the whole batch as negatives.
    view_1, view_2 = (whole_batch(ops.cast(view, "float32")) for view in (view_1, view_2))
    vectors = ops.concatenate([view_1, view_2], axis=0)  # [2B, D]
    if similarity == "cosine":
        vectors = ops.normalize(vectors, axis=-1, epsilon=1e-12)
    logits = ops.matmul(vectors, ops.transpose(vectors)) / temperature  # [2B, 2B]
    rows = ops.arange(ops.shape(vectors)[0], dtype="int32")
    itself = rows[:, None] == rows[None, :]
    logits = ops.where(itself, NEVER, logits)
    other_view = ops.roll(rows, ops.shape(view_1)[0])
    return ops.mean(_cross_entropy(logits, other_view)) / n_replicas()


def _cross_entropy(logits: KerasTensor, targets: KerasTensor) -> KerasTensor:
    picked = ops.squeeze(ops.take_along_axis(logits, targets[:, None], axis=1), axis=1)
    return ops.logsumexp(logits, axis=1) - picked
