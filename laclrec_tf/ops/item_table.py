"""Rows of an item table: reading some of them, and finding the row with the highest score for each vector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

SLICE_ELEMENTS = 2**21


def table_rows(table: Any, ids: tf.Tensor) -> tf.Tensor:
    """Read rows of a table. Of a variable only these rows are read, and the gradient holds only these rows.

    Reading the whole variable first, as `ops.take` does, makes TensorFlow copy it before its next update:
    256 MB a step for a million items of width 64.

    Args:
        table: `[R, D]` float variable or tensor.
        ids: integer row numbers of any shape.

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
    """Find the row with the largest dot product for each vector, slice by slice of the vectors.

    Args:
        vectors: `[P, D]` float.
        rows: `[C, D]` float of the same dtype, at least one.
        slice_elements: max number of scores in memory at a time; the scores of one vector always fit. Default: 2**21,
            8 MB.
        excluded: `[P, E]` int32, row positions that each vector may not get; `C` excludes nothing. At least one row of
            each vector must remain. Default: nothing is excluded.

    Returns:
        `[P]` int32 positions in `rows`; of equal scores the first.

    Example:
        >>> best_rows(tf.constant([[1.0], [-1.0]]), tf.constant([[2.0], [3.0], [-4.0]])).numpy().tolist()
        [1, 2]
        >>> best_rows(tf.ones([1, 1]), tf.constant([[2.0], [3.0]]), excluded=tf.constant([[1, 2]])).numpy().tolist()
        [0]
    """
    columns = tf.transpose(rows)

    def best_of_slice(parts: tuple[tf.Tensor, ...]) -> tf.Tensor:
        scores = tf.matmul(parts[0], columns)
        if excluded is not None:
            vector = tf.broadcast_to(tf.range(tf.shape(parts[1])[0])[:, tf.newaxis], tf.shape(parts[1]))
            places = tf.reshape(tf.stack([vector, parts[1]], axis=-1), [-1, 2])
            lowest = tf.fill([tf.shape(places)[0]], scores.dtype.min)
            # One more column, for the position that excludes nothing.
            scores = tf.tensor_scatter_nd_update(tf.pad(scores, [[0, 0], [0, 1]]), places, lowest)[:, :-1]
        return tf.argmax(scores, axis=1, output_type=tf.int32)

    max_vectors = tf.maximum(slice_elements // tf.shape(rows)[0], 1)
    best = tf.map_fn(
        best_of_slice,
        tuple(sliced_rows(part, max_vectors)[0] for part in (vectors, excluded) if part is not None),
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None], tf.int32),
    )
    return tf.reshape(best, [-1])[: tf.shape(vectors)[0]]


def sliced_rows(rows: tf.Tensor, max_rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cut a table into the smallest number of slices of equal size, with zeros behind the last row.

    Args:
        rows: `[P, D]`.
        max_rows: scalar integer, max number of rows in a slice, at least 1.

    Returns:
        The slices `[S, ceil(P / S), D]`, their number `S` and their size, both scalar int32; one slice if `P` is 0.

    Example:
        >>> slices, n_slices, size = sliced_rows(tf.constant([[1], [2], [3], [4], [5]]), tf.constant(4))
        >>> slices[..., 0].numpy().tolist(), int(n_slices), int(size)
        ([[1, 2, 3], [4, 5, 0]], 2, 3)
    """
    count = tf.shape(rows)[0]
    n_slices = tf.maximum((count + max_rows - 1) // max_rows, 1)
    size = tf.maximum((count + n_slices - 1) // n_slices, 1)
    padded = tf.pad(rows, [[0, n_slices * size - count], [0, 0]])
    return tf.reshape(padded, [n_slices, size, rows.shape[1] or tf.shape(rows)[1]]), n_slices, size
