"""Scores of listed items, worked by hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from laclrec_tf.serving.retriever.selection import listed_scores

TABLE = tf.constant([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
VECTORS = tf.constant([[1.0, 1.0], [2.0, 0.0]])


def test_one_list_for_all_rows():
    np.testing.assert_array_equal(listed_scores(VECTORS, TABLE, tf.constant([[1, 2, 1]])), [[3, 2, 3], [2, 6, 2]])


def test_a_list_for_each_row():
    np.testing.assert_array_equal(listed_scores(VECTORS, TABLE, tf.constant([[1, 2], [2, 0]])), [[3, 2], [6, 0]])


def test_nothing_listed():
    assert listed_scores(VECTORS, TABLE, tf.zeros([2, 0], tf.int32)).shape == (2, 0)
    assert listed_scores(VECTORS, TABLE, tf.zeros([1, 0], tf.int32)).shape == (2, 0)
    assert listed_scores(tf.zeros([0, 2]), TABLE, tf.zeros([0, 3], tf.int32)).shape == (0, 3)
