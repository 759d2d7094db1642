"""What label smoothing adds to the next-item cross-entropy."""

from __future__ import annotations

import tensorflow as tf

from laclrec_tf.replicas import share_of_mean


def smoothing_term(
    vectors: tf.Tensor, item_table: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Return the mean of the target's logit minus the mean logit.

    Cross-entropy plus `e` times this is the cross-entropy against a target of probability `1 - e` and an evenly
    spread rest, as the logarithm of the sum is the same for every item.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.
        targets: `[P]` integer ids.
        weights: `[P]` float. Default: 1 each.

    Returns:
        Scalar float32.

    Example:
        >>> table = tf.constant([[0.0], [1.0], [2.0], [0.0], [0.0]])  # two items
        >>> float(smoothing_term(tf.ones([1, 1]), table, tf.constant([2])))  # 2 - 1.5
        0.5

    Reference: Szegedy et al., 2016 (arXiv 1512.00567).
    """
    weights = tf.ones_like(targets, tf.float32) if weights is None else tf.cast(weights, tf.float32)
    table = tf.convert_to_tensor(item_table)
    lead = tf.gather(table, targets) - tf.reduce_mean(table[1:-2], axis=0)
    differences = tf.reduce_sum(tf.cast(vectors, tf.float32) * lead, axis=1)
    return share_of_mean(tf.reduce_sum(weights * differences), tf.reduce_sum(weights))
