"""Generalised binary cross-entropy against sampled negatives."""

from __future__ import annotations

import tensorflow as tf

from laclrec_tf.replicas import share_of_mean
from laclrec_tf.table_rows import table_rows


def generalised_bce(
    vectors: tf.Tensor,
    item_table: tf.Tensor,
    targets: tf.Tensor,
    negatives: tf.Tensor,
    *,
    weights: tf.Tensor | None = None,
    calibration: float = 0.75,
) -> tf.Tensor:
    """Average `-(beta log s(target) + sum log(1 - s(negative)))`, `s` the sigmoid of a score.

    With `a = S / (N - 1)` the share of the catalogue that is sampled, `beta = a (t (1 - 1 / a) + 1 / a)`.
    Negatives are shared by all positions; one that is the target does not count.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float variable or tensor: PAD, items, EOS, MASK.
        targets: `[P]` integer ids.
        negatives: `[S]` integer ids, drawn evenly.
        weights: `[P]` float. Default: 1 each.
        calibration: `t`; 0 gives binary cross-entropy, 1 full calibration. Default: 0.75.

    Returns:
        Scalar float32.

    Example:
        >>> loss = generalised_bce(tf.ones([1, 2]), tf.zeros([7, 2]), tf.constant([3]), tf.constant([1, 2, 4]))
        >>> round(float(loss), 4)  # all the other items: beta is 1, and 4 log 2
        2.7726

    Reference: Petrov and Macdonald, gSASRec, RecSys 2023 (arXiv 2308.07192).
    """
    vectors = tf.convert_to_tensor(vectors)
    targets, negatives = tf.cast(targets, tf.int32), tf.cast(negatives, tf.int32)
    weights = tf.ones_like(targets, tf.float32) if weights is None else tf.cast(weights, tf.float32)
    share = negatives.shape[0] / (item_table.shape[0] - 4)
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    rows = table_rows(item_table, tf.concat([targets, negatives], axis=0))
    of_targets, of_negatives = rows[: tf.shape(targets)[0]], rows[tf.shape(targets)[0] :]
    scores = tf.reduce_sum(vectors * of_targets, axis=1)
    against = tf.nn.softplus(tf.matmul(vectors, of_negatives, transpose_b=True))
    against = tf.where(tf.equal(targets[:, tf.newaxis], negatives[tf.newaxis, :]), 0.0, against)
    losses = beta * tf.nn.softplus(-scores) + tf.reduce_sum(against, axis=1)
    return share_of_mean(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))
