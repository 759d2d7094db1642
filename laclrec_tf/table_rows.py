"""Rows of an embedding table, without reading the whole table."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


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
