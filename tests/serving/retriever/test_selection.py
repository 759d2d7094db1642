"""Ids in lists, against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.serving.retriever import selection
from laclrec_tf.serving.retriever.selection import is_listed, listed_scores, without_repeats

TABLE = tf.constant([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
VECTORS = tf.constant([[1.0, 1.0], [2.0, 0.0]])
ids = st.integers(0, 12)


def test_one_list_for_all_rows():
    np.testing.assert_array_equal(listed_scores(VECTORS, TABLE, tf.constant([[1, 2, 1]])), [[3, 2, 3], [2, 6, 2]])


def test_a_list_for_each_row():
    np.testing.assert_array_equal(listed_scores(VECTORS, TABLE, tf.constant([[1, 2], [2, 0]])), [[3, 2], [6, 0]])


def test_nothing_listed():
    assert listed_scores(VECTORS, TABLE, tf.zeros([2, 0], tf.int32)).shape == (2, 0)
    assert listed_scores(VECTORS, TABLE, tf.zeros([1, 0], tf.int32)).shape == (2, 0)
    assert listed_scores(tf.zeros([0, 2]), TABLE, tf.zeros([0, 3], tf.int32)).shape == (0, 3)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 4),
    width=st.integers(0, 5),
    listed=st.integers(0, 6),
    one_list=st.booleans(),
    max_comparisons=st.sampled_from([0.0, 2.0**20]),
    data=st.data(),
)
def test_what_is_listed(rows, width, listed, one_list, max_comparisons, data):
    queries = np.array(data.draw(st.lists(ids, min_size=rows * width, max_size=rows * width)), np.int32)
    n_lists = 1 if one_list else rows
    lists = np.array(data.draw(st.lists(ids, min_size=n_lists * listed, max_size=n_lists * listed)), np.int32)
    queries, lists = queries.reshape(rows, width), lists.reshape(n_lists, listed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "MAX_COMPARISONS", max_comparisons)
        found = is_listed(tf.constant(queries), tf.constant(lists)).numpy()
    for row in range(rows):
        own = set(lists[0 if one_list else row].tolist()) - {0}
        assert found[row].tolist() == [item in own for item in queries[row].tolist()]


def test_repeats_become_padding():
    result = without_repeats(tf.constant([[5, 0, 5, 5], [3, 2, 1, 0]])).numpy()
    np.testing.assert_array_equal(result, [[0, 5, 0, 0], [0, 1, 2, 3]])
    assert without_repeats(tf.zeros([2, 0], tf.int32)).shape == (2, 0)
