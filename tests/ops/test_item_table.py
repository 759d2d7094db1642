"""Best rows: those of the whole table of scores, however it is cut."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.ops.item_table import best_rows, table_rows

TABLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=[9, 4]).astype("float32")


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


@pytest.mark.parametrize("n_vectors", [0, 7, 30])
@pytest.mark.parametrize("slice_elements", [1, 63, 2**21])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_rows_are_those_of_the_whole_table_of_scores(n_vectors: int, slice_elements: int, jit_compile: bool):
    vectors = GENERATOR.normal(size=[n_vectors, 4]).astype("float32")
    found = tf.function(best_rows, jit_compile=jit_compile)(tf.constant(vectors), tf.constant(ROWS), slice_elements)
    assert found.dtype == tf.int32
    assert found.numpy().tolist() == np.argmax(vectors @ ROWS.T, axis=1).tolist()


@pytest.mark.parametrize("slice_elements", [1, 20, 2**21])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_excluded_rows_do_not_count(slice_elements: int, jit_compile: bool):
    vectors = GENERATOR.normal(size=[7, 4]).astype("float32")
    excluded = GENERATOR.integers(0, 10, size=[7, 5]).astype("int32")  # 9 stands for none
    scores = np.pad(vectors @ ROWS.T, [(0, 0), (0, 1)])
    np.put_along_axis(scores, excluded, -np.inf, axis=1)
    found = tf.function(best_rows, jit_compile=jit_compile)(
        tf.constant(vectors), tf.constant(ROWS), slice_elements, tf.constant(excluded)
    )
    assert found.numpy().tolist() == scores[:, :-1].argmax(axis=1).tolist()
    assert found.numpy().tolist() != (vectors @ ROWS.T).argmax(axis=1).tolist()


def test_of_equal_scores_the_first_counts():
    assert best_rows(tf.ones([2, 1]), tf.ones([5, 1])).numpy().tolist() == [0, 0]


def test_no_tensor_is_larger_than_a_slice():
    vectors = tf.ones([30, 4])
    graph = tf.function(lambda: best_rows(vectors, tf.constant(ROWS), 45)).get_concrete_function().graph
    largest = 0
    for function in [graph, *(each.graph for each in graph._functions.values())]:
        for operation in function.get_operations():
            for output in operation.outputs:
                if output.shape.is_fully_defined():
                    largest = max(largest, output.shape.num_elements())
    assert largest < 30 * len(ROWS)
