"""What label smoothing adds to the next-item cross-entropy."""

from __future__ import annotations

from keras import KerasTensor, ops

from laclrec_tf.ops.replicas import share_of_mean


def label_smoothing_term(
    vectors: KerasTensor, item_table: KerasTensor, targets: KerasTensor, *, weights: KerasTensor | None = None
) -> KerasTensor:
    """Average by how much the target's logit is above the mean logit of the catalogue.

    The cross-entropy plus `e` times this is the cross-entropy against probabilities of which `1 - e` is the target's
    and `e` is spread evenly over the catalogue: both share the logarithm of the sum over all items. The mean logit is
    the logit of the mean item, so that the catalogue is not scored again.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.
        targets: `[P]` integer ids, PAD only where the weight is 0.
        weights: `[P]` float, 0 for a position that does not count. Default: 1 each.

    Returns:
        Scalar float32, 0 when there are no positions; inside a replica its share of the mean over all replicas.

    Example:
        >>> table = ops.array([[0.0], [1.0], [2.0], [0.0], [0.0]])  # two items
        >>> float(label_smoothing_term(ops.ones([1, 1]), table, ops.array([2])))  # 2 - (1 + 2) / 2
        0.5

    Reference: Szegedy et al., "Rethinking the Inception Architecture", 2016 (arXiv 1512.00567), section 7.
    """
    weights = ops.ones_like(targets, "float32") if weights is None else ops.cast(weights, "float32")
    table = ops.convert_to_tensor(item_table)
    leads = ops.take(table, targets, axis=0) - ops.mean(table[1:-2], axis=0)
    leads = ops.sum(ops.cast(vectors, "float32") * ops.cast(leads, "float32"), axis=1)
    return share_of_mean(ops.sum(weights * leads), ops.sum(weights))
