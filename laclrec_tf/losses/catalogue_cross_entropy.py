"""Cross-entropy over a catalogue without the table of logits: a custom gradient over slices of items.

The plain loss writes a `[P, C]` tensor of logits three times a step; on a CPU those writes, not the products,
are what it costs. Here one slice of items is scored at a time, forward with a running maximum and sum, backward
once more from the saved normaliser. Memory is flat in the catalogue. Written in TensorFlow, not `keras.ops`,
for `tf.custom_gradient` and `tf.while_loop`.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

SLICE = 512


def catalogue_cross_entropy(
    vectors: tf.Tensor, candidates: tf.Tensor, targets: tf.Tensor, slice_size: int = SLICE
) -> tf.Tensor:
    """Return each target's cross-entropy over all candidates, `logsumexp(v C') - v c_target`.

    Args:
        vectors: `[P, D]` float.
        candidates: `[C, D]` float of the same dtype, `C >= 1`.
        targets: `[P]` integer rows of `candidates`.
        slice_size: candidates scored at a time. Default: 512.

    Returns:
        `[P]` float32.

    Example:
        >>> losses = catalogue_cross_entropy(tf.ones([1, 2]), tf.zeros([4, 2]), tf.constant([3]))
        >>> round(float(losses[0]), 4)  # log 4
        1.3863

    Reference: the running logsumexp is Milakov and Gimelshein, 2018 (arXiv 1805.02867).
    """
    vectors, candidates = tf.convert_to_tensor(vectors), tf.convert_to_tensor(candidates)
    targets = tf.cast(targets, tf.int32)

    @tf.custom_gradient
    def losses_of(vectors: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        count, size = tf.shape(candidates)[0], tf.shape(vectors)[0]

        def forward(start: tf.Tensor, highest: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
            logits = _logits(vectors, candidates[start : start + slice_size])
            new_highest = tf.maximum(highest, tf.reduce_max(logits, axis=1))
            total *= tf.exp(highest - new_highest)
            total += tf.reduce_sum(tf.exp(logits - new_highest[:, tf.newaxis]), axis=1)
            return start + slice_size, new_highest, total

        first = [tf.constant(0), tf.fill([size], tf.float32.min), tf.zeros([size])]
        _, highest, total = tf.while_loop(lambda start, *_: start < count, forward, first)
        normaliser = highest + tf.math.log(total)
        of_targets = tf.gather(candidates, targets)  # [P, D]
        losses = normaliser - tf.cast(tf.reduce_sum(vectors * of_targets, axis=1), tf.float32)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            weights = upstream[:, tf.newaxis]

            def backward(start: tf.Tensor, to_vectors: tf.Tensor, to_slices: tf.TensorArray) -> tuple:
                items = candidates[start : start + slice_size]
                share = tf.exp(_logits(vectors, items) - normaliser[:, tf.newaxis]) * weights
                share = tf.cast(share, vectors.dtype)
                to_slices = to_slices.write(start // slice_size, tf.matmul(share, vectors, transpose_a=True))
                return start + slice_size, to_vectors + tf.matmul(share, items), to_slices

            n_slices = (count + slice_size - 1) // slice_size
            slices = tf.TensorArray(vectors.dtype, n_slices, infer_shape=False, element_shape=[None, vectors.shape[1]])
            first = [tf.constant(0), tf.zeros_like(vectors), slices]
            _, to_vectors, slices = tf.while_loop(lambda start, *_: start < count, backward, first)
            weights = tf.cast(weights, vectors.dtype)
            to_candidates = tf.tensor_scatter_nd_sub(slices.concat(), targets[:, tf.newaxis], weights * vectors)
            return to_vectors - weights * of_targets, to_candidates

        return losses, gradient

    return losses_of(vectors, candidates)


def _logits(vectors: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(vectors, items, transpose_b=True), tf.float32)
