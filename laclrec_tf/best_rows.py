"""The row of a table that scores highest for each vector, without the table of scores."""

from __future__ import annotations

import tensorflow as tf

SLICE_ELEMENTS = 2**21


def best_rows(vectors: tf.Tensor, rows: tf.Tensor, slice_elements: int = SLICE_ELEMENTS) -> tf.Tensor:
    """Find for each vector the row with the largest dot product, some vectors at a time.

    Args:
        vectors: `[P, D]` float.
        rows: `[C, D]` float of the same dtype, at least one.
        slice_elements: most scores held at a time, but for one vector's. Default: 2**21, 8 MB.

    Returns:
        `[P]` int32 positions in `rows`; of equal scores the first.

    Example:
        >>> best_rows(tf.constant([[1.0], [-1.0]]), tf.constant([[2.0], [3.0], [-4.0]])).numpy().tolist()
        [1, 2]
    """
    count = tf.shape(vectors)[0]
    most = tf.maximum(slice_elements // tf.shape(rows)[0], 1)
    n_slices = tf.maximum((count + most - 1) // most, 1)
    size = tf.maximum((count + n_slices - 1) // n_slices, 1)
    padded = tf.pad(vectors, [[0, n_slices * size - count], [0, 0]])
    slices = tf.reshape(padded, [n_slices, size, vectors.shape[1]])
    columns = tf.transpose(rows)
    best = tf.map_fn(
        lambda some: tf.argmax(tf.matmul(some, columns), axis=1, output_type=tf.int32),
        slices,
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None], tf.int32),
    )
    return tf.reshape(best, [-1])[:count]
