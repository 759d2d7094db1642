"""The row of a table that scores highest for each vector, without the table of scores."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

SLICE_ELEMENTS = 2**21


def table_rows(table: Any, ids: tf.Tensor) -> tf.Tensor:
    """Take rows of a table; of a variable only these rows are read, and the gradient holds only these rows.

    Reading a variable whole first, as `ops.take` does, makes TensorFlow copy it before its next update:
    256 MB a step for a million items of width 64.

    Args:
        table: `[R, D]` float variable or tensor.
        ids: integer rows of any shape.

    Returns:
        `[*ids.shape, D]`.

    Example:
        >>> table_rows(tf.constant([[1.0], [2.0]]), tf.constant([1])).numpy().tolist()
        [[2.0]]
    """
    if isinstance(table, keras.Variable):
        table = table.value
    return tf.gather(table, ids)


def best_rows(
    vectors: tf.Tensor,
    rows: tf.Tensor,
    slice_elements: int = SLICE_ELEMENTS,
    excluded: tf.Tensor | None = None,
) -> tf.Tensor:
    """Find for each vector the row with the largest dot product, some vectors at a time.

    Args:
        vectors: `[P, D]` float.
        rows: `[C, D]` float of the same dtype, at least one.
        slice_elements: most scores held at a time, but for one vector's. Default: 2**21, 8 MB.
        excluded: `[P, E]` int32, for each vector positions in `rows` that do not count; `C` stands for none. Not all
            of a vector's. Default: every row counts.

    Returns:
        `[P]` int32 positions in `rows`; of equal scores the first.

    Example:
        >>> best_rows(tf.constant([[1.0], [-1.0]]), tf.constant([[2.0], [3.0], [-4.0]])).numpy().tolist()
        [1, 2]
        >>> best_rows(tf.ones([1, 1]), tf.constant([[2.0], [3.0]]), excluded=tf.constant([[1, 2]])).numpy().tolist()
        [0]
    """
    count, n_rows = tf.shape(vectors)[0], tf.shape(rows)[0]
    most = tf.maximum(slice_elements // n_rows, 1)
    n_slices = tf.maximum((count + most - 1) // most, 1)
    size = tf.maximum((count + n_slices - 1) // n_slices, 1)
    columns = tf.transpose(rows)

    def slices_of(values: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(values, [[0, n_slices * size - count], [0, 0]])
        return tf.reshape(padded, [n_slices, size, tf.shape(values)[1]])

    def best_of_slice(some: tuple[tf.Tensor, ...]) -> tf.Tensor:
        scores = tf.matmul(some[0], columns)
        if excluded is not None:
            which = tf.broadcast_to(tf.range(size)[:, tf.newaxis], tf.shape(some[1]))
            places = tf.reshape(tf.stack([which, some[1]], axis=-1), [-1, 2])
            never = tf.fill([tf.shape(places)[0]], scores.dtype.min)
            # One column more, for what stands for none.
            scores = tf.tensor_scatter_nd_update(tf.pad(scores, [[0, 0], [0, 1]]), places, never)[:, :-1]
        return tf.argmax(scores, axis=1, output_type=tf.int32)

    parts = [vectors] if excluded is None else [vectors, excluded]
    best = tf.map_fn(
        best_of_slice,
        tuple(slices_of(part) for part in parts),
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None], tf.int32),
    )
    return tf.reshape(best, [-1])[:count]
