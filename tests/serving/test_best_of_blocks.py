"""The largest of many scores, whatever the size of a block."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.serving.retriever.exact_index import best_of_blocks


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
