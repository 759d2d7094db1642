"""The exact index against scoring every item with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.serving.retriever import exact_index
from laclrec_tf.serving.retriever.exact_index import ExactIndex, best_of_blocks


def test_the_best_of_one_block_are_kept_together():
    scores, places = best_of_blocks(tf.constant([[5.0, 9.0, 7.0, 1.0, 2.0, 3.0]]), tf.constant(3), block=3)
    assert places.numpy().tolist() == [[1, 2, 0]]
    assert scores.numpy().tolist() == [[9.0, 7.0, 5.0]]


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 40), k=st.integers(1, 45), block=st.integers(1, 9), seed=st.integers(0, 99))
def test_they_are_those_of_a_sort(width: int, k: int, block: int, seed: int):
    rows = np.random.default_rng(seed).permutation(2 * width).reshape(2, width).astype(np.float32)
    scores, places = best_of_blocks(tf.constant(rows), tf.constant(k), block)
    order = np.argsort(-rows, axis=1)[:, :k]
    assert places.numpy().tolist() == order.tolist()
    assert scores.numpy().tolist() == np.take_along_axis(rows, order, axis=1).tolist()


def test_no_place_lies_behind_the_end_where_scores_are_minus_infinity():
    scores = np.full((1, 200), -np.inf, np.float32)
    scores[0, 7] = 1.0
    best, places = best_of_blocks(tf.constant(scores), tf.constant(200))
    assert places.numpy()[0, 0] == 7 and best.numpy()[0, 0] == 1.0
    assert places.numpy().max() < 200


def random_table(n_items: int, width: int = 8) -> np.ndarray:
    table = np.random.default_rng(1).normal(size=(n_items + 3, width)).astype(np.float32)
    table[[0, -2, -1]] = 100.0  # PAD, EOS and MASK would come first
    return table


def brute_force(table: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = vectors @ table[1:-2].T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order + 1


@pytest.mark.parametrize("n_items", [1, 7, 127, 128, 129, 5000])
@pytest.mark.parametrize("k", [1, 5, 200, 2**31 - 1])
def test_the_best_items_of_all(n_items, k):
    table = random_table(n_items)
    vectors = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    scores, item_ids = ExactIndex(lambda: tf.constant(table), n_items).search(tf.constant(vectors), tf.constant(k))
    expected = brute_force(table, vectors, k)
    np.testing.assert_array_equal(item_ids, expected[1])
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-6)


def test_tiles_make_no_difference(monkeypatch):
    table = random_table(5000)
    vectors = np.random.default_rng(3).normal(size=(2, 8)).astype(np.float32)
    monkeypatch.setattr(exact_index, "TILE_ITEMS", 512)
    monkeypatch.setattr(exact_index, "ONE_TILE", 100)
    index = ExactIndex(lambda: tf.constant(table), 5000)
    search = tf.function(index.search, input_signature=[tf.TensorSpec([None, 8]), tf.TensorSpec([], tf.int32)])
    graph = search.get_concrete_function().graph.as_graph_def()
    assert any("while" in node.op.lower() for node in graph.node)
    for k in (3, 700):  # more than a tile holds
        scores, item_ids = search(tf.constant(vectors), tf.constant(k))
        expected = brute_force(table, vectors, k)
        np.testing.assert_array_equal(item_ids, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-6)


def test_items_that_are_not_active_are_last():
    table = random_table(4)
    index = ExactIndex(lambda: tf.constant(table), 4, np.array([True, False, True, False]))
    scores, item_ids = index.search(tf.ones([1, 8]), tf.constant(4))
    assert set(item_ids.numpy()[0, :2]) == {1, 3}
    np.testing.assert_array_equal(scores[0, 2:], [-np.inf, -np.inf])


def test_the_cosine_does_not_see_lengths():
    table = tf.constant([[0.0, 0.0], [0.5, 0.0], [9.0, 9.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    scores, item_ids = ExactIndex(lambda: table, 3).search(tf.constant([[4.0, 0.0]]), tf.constant(3), cosine=True)
    np.testing.assert_array_equal(item_ids, [[1, 2, 3]])
    np.testing.assert_allclose(scores, [[1.0, np.sqrt(0.5), -1.0]], rtol=1e-6)


def test_no_vectors():
    scores, item_ids = ExactIndex(lambda: tf.zeros([6, 2]), 3).search(tf.zeros([0, 2]), tf.constant(2))
    assert scores.shape == item_ids.shape == (0, 2)
