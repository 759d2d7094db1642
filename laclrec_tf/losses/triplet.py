"""The fine contrast: a raw history is nearer to its learned view than to its random view."""

from __future__ import annotations

from keras import KerasTensor, ops

from laclrec_tf.ops.replicas import share_of_mean


def triplet_loss(raw: KerasTensor, learned: KerasTensor, random: KerasTensor) -> KerasTensor:
    """Average `-log sigmoid(s(raw, learned) - s(raw, random))` over the batch, `s` the dot product.

    Equal to the released code's ratio of exponentials divided by the batch size; written as a softplus it
    cannot overflow.

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
