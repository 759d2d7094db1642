"""The largest of many scores, faster than by one `top_k` over all of them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# The best scores are looked for in the best blocks only; finding those is a plain maximum, which is fast.
BLOCK = 128


def best_of_blocks(scores: tf.Tensor, k: tf.Tensor, block: int = BLOCK) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the best scores of each row and their places; all lie in the `k` blocks of the best maxima.

    Args:
        scores: `[B, T]` float32.
        k: int32 scalar, at least 1.
        block: scores of a block; the square root of `T / k` or so reads the fewest. Default: 128.

    Returns:
        `(scores [B, min(k, T)] float32, places [B, min(k, T)] int32)`, best first; of equal scores any.
        The place of a score of `-inf` means nothing, but there is one.

    Example:
        >>> scores, places = best_of_blocks(tf.constant([[1.0, 3.0, 2.0]]), tf.constant(2))
        >>> places.numpy().tolist(), scores.numpy().tolist()
        ([[1, 2]], [[3.0, 2.0]])
    """
    batch, width = tf.shape(scores)[0], tf.shape(scores)[1]
    n_blocks = (width + block - 1) // block
    padded = tf.pad(scores, [[0, 0], [0, n_blocks * block - width]], constant_values=-np.inf)
    blocks = tf.reshape(padded, [batch, n_blocks, block])
    _, chosen = tf.math.top_k(tf.reduce_max(blocks, axis=-1), tf.minimum(k, n_blocks))
    candidates = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [batch, tf.shape(chosen)[1] * block])
    best, places = tf.math.top_k(candidates, tf.minimum(k, width))
    places = tf.gather(chosen, places // block, batch_dims=1) * block + places % block
    # Where scores are -inf themselves, the padding is as good as they are.
    return best, tf.minimum(places, width - 1)
