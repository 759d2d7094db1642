"""Next-item cross-entropy over the whole catalogue."""

from __future__ import annotations

from keras import KerasTensor, ops

from laclrec_tf.losses.catalogue_cross_entropy import catalogue_cross_entropy
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


def catalogue_logits(vectors: KerasTensor, item_table: KerasTensor, *, eos_allowed: bool = False) -> KerasTensor:
    """Score vectors against every item; the special tokens are no candidates.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.
        eos_allowed: EOS is a possible answer, as for the reverse generator. Default: False.

    Returns:
        `[P, N]` float32, column `i` for the id `i + 1`; with `eos_allowed` `[P, N + 1]`, EOS last.

    Example:
        >>> catalogue_logits(ops.ones([1, 2]), ops.ones([5, 2])).numpy().tolist()
        [[2.0, 2.0]]
    """
    candidates = ops.cast(_candidates(item_table, eos_allowed), vectors.dtype)
    return ops.cast(ops.matmul(vectors, ops.transpose(candidates)), "float32")


def next_item_loss(
    vectors: KerasTensor,
    item_table: KerasTensor,
    targets: KerasTensor,
    *,
    weights: KerasTensor | None = None,
    eos_allowed: bool = False,
) -> KerasTensor:
    """Average the cross-entropy of each target over the whole catalogue.

    Give only real positions where shapes may change: padding costs a catalogue of logits a position.

    Args:
        vectors: `[P, D]` float, one for each position that has a target.
        item_table: `[N + 3, D]` float.
        targets: `[P]` integer ids, PAD only where the weight is 0.
        weights: `[P]` float, 0 for a position that does not count. Default: 1 each.
        eos_allowed: EOS is a possible answer. Default: False.

    Returns:
        Scalar float32, 0 when there are no positions; inside a replica its share of the mean over all replicas.

    Example:
        >>> table = ops.zeros([7, 2])  # four items
        >>> round(float(next_item_loss(ops.ones([1, 2]), table, ops.array([3]))), 4)  # log 4
        1.3863

    Reference: SASRec's task with a full softmax; LACLRec (arXiv 2503.20232), next-item prediction.
    """
    return catalogue_cross_entropy(vectors, item_table, targets, specials=(1, 1 if eos_allowed else 2), weights=weights)


def _candidates(item_table: KerasTensor, eos_allowed: bool) -> KerasTensor:
    # Slicing the table instead of masking the logits saves a pass over the largest tensor of a step.
    return ops.convert_to_tensor(item_table)[1 : -1 if eos_allowed else -2]
