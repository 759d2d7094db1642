"""Next-item cross-entropy over a sample of the catalogue, for catalogues that are too large to score."""

from __future__ import annotations

import math

import tensorflow as tf

from laclrec_tf.ops.item_table import table_rows
from laclrec_tf.ops.replicas import share_of_mean

NEVER = -1e9


def draw_negatives(uniform: tf.Tensor, n_items: int) -> tf.Tensor:
    """Turn uniform numbers into item ids with `P(id) = log(1 + 1 / id) / log(N + 1)`.

    Prepared data number the items by falling frequency, so this log-uniform law is close to their frequencies.

    Args:
        uniform: `[S]` float64 in `[0, 1)`. Numbers drawn as float32 are 2^-23 apart; with ten million items, four
            in five items would never be drawn.
        n_items: Catalogue size `N`.

    Returns:
        `[S]` int32 ids from 1 to `N`; an id may occur twice.

    Raises:
        ValueError: `uniform` is not float64.

    Example:
        >>> draw_negatives(tf.constant([0.0, 0.5, 0.999], tf.float64), n_items=99).numpy().tolist()
        [1, 10, 99]
    """
    if uniform.dtype != tf.float64:
        raise ValueError(f"Argument `uniform` must be float64, drawn as such. Received: {uniform.dtype.name}.")
    ids = tf.exp(uniform * math.log(n_items + 1.0))  # in [1, N + 1)
    return tf.clip_by_value(tf.cast(ids, tf.int32), 1, n_items)


def log_expected_count(item_ids: tf.Tensor, n_items: int, n_negatives: int | tf.Tensor) -> tf.Tensor:
    """Return the logarithm of the expected number of draws of each item by `draw_negatives`.

    Args:
        item_ids: integer ids from 1 to `N`, any shape.
        n_items: Catalogue size `N`.
        n_negatives: Number of draws `S`.

    Returns:
        float32 of the same shape: `log(S P(id))`.

    Example:
        >>> round(float(log_expected_count(tf.constant(1), n_items=3, n_negatives=8)), 4)  # log(8 * 1/2)
        1.3863
    """
    probability = tf.math.log1p(1.0 / tf.cast(item_ids, tf.float32)) / math.log(n_items + 1.0)
    return tf.math.log(tf.cast(n_negatives, tf.float32) * probability)


def sampled_softmax_loss(
    vectors: tf.Tensor,
    item_table: tf.Tensor,
    targets: tf.Tensor,
    negatives: tf.Tensor,
    *,
    weights: tf.Tensor | None = None,
    eos_allowed: bool = False,
) -> tf.Tensor:
    """Return the mean cross-entropy of the targets against a sample of negatives that all positions share.

    The score of a negative is lowered by the logarithm of its expected count in the sample (logQ), so the sum over the
    sample is an unbiased estimate of the sum over the catalogue. The target occurs exactly once, so its score stays
    as it is. A negative that equals the target (an accidental hit) does not count. Only the rows of targets and
    negatives are read, and only they get a gradient.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float variable or tensor: PAD, items, EOS, MASK.
        targets: `[P]` integer ids; 1 to `N`, with `eos_allowed` also EOS; anything where the weight is 0.
        negatives: `[S]` integer ids from `draw_negatives`.
        weights: `[P]` float, 0 for a position that does not count. Default: 1 each.
        eos_allowed: Whether EOS is a candidate, as for the reverse generator. Default: False.

    Returns:
        Scalar float32, 0 when there are no positions; inside a replica its share of the mean over all replicas.

    Example:
        >>> table = tf.zeros([7, 2])  # four items
        >>> loss = sampled_softmax_loss(tf.ones([1, 2]), table, tf.constant([3]), tf.constant([3, 3]))
        >>> float(loss)  # both negatives are the target itself
        0.0

    Reference: Bengio and Senecal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
    Language Model", 2008; Yi et al., "Sampling-Bias-Corrected Neural Modeling", RecSys 2019 (the logQ correction).
    """
    vectors = tf.convert_to_tensor(vectors)
    targets, negatives = tf.cast(targets, tf.int32), tf.cast(negatives, tf.int32)
    weights = tf.ones_like(targets, tf.float32) if weights is None else tf.cast(weights, tf.float32)
    n_items = item_table.shape[0] - 3
    expected = log_expected_count(negatives, n_items, tf.shape(negatives)[0])
    if eos_allowed:
        negatives = tf.concat([negatives, [n_items + 1]], axis=0)
        expected = tf.concat([expected, [0.0]], axis=0)  # EOS occurs exactly once

    rows = tf.cast(table_rows(item_table, tf.concat([targets, negatives], axis=0)), vectors.dtype)
    of_targets, of_negatives = rows[: tf.shape(targets)[0]], rows[tf.shape(targets)[0] :]
    scores = tf.reduce_sum(tf.cast(vectors * of_targets, tf.float32), axis=1)
    against = tf.cast(tf.matmul(vectors, of_negatives, transpose_b=True), tf.float32) - expected
    hits = tf.equal(targets[:, tf.newaxis], negatives[tf.newaxis, :])
    against = tf.where(hits, NEVER, against)  # [P, S]
    logits = tf.concat([scores[:, tf.newaxis], against], axis=1)
    losses = tf.reduce_logsumexp(logits, axis=1) - scores
    return share_of_mean(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))
