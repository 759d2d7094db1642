"""Rows of a table: what they hold, and that the table is never read whole."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from laclrec_tf.ops.item_table import table_rows

TABLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("made", [tf.constant, tf.Variable, keras.Variable])
def test_rows_of_any_kind_of_table(made):
    assert table_rows(made(TABLE), tf.constant([[2, 0]])).numpy().tolist() == [[[5.0, 6.0], [1.0, 2.0]]]


@pytest.mark.parametrize("made", [tf.Variable, keras.Variable])
def test_a_variable_is_not_read_whole_and_its_gradient_is_rows(made):
    table = made(TABLE)

    @tf.function
    def step(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(table_rows(table, ids) ** 2)
        gradient = tape.gradient(loss, getattr(table, "value", table) if made is keras.Variable else table)
        assert isinstance(gradient, tf.IndexedSlices)
        return gradient.values

    ids = tf.constant([1, 1])
    assert step(ids).numpy().tolist() == [[6.0, 8.0], [6.0, 8.0]]
    operations = {operation.type for operation in step.get_concrete_function(ids).graph.get_operations()}
    assert "ResourceGather" in operations
    assert "ReadVariableOp" not in operations
