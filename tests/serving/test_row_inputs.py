"""Inputs for every row or for each one."""

from __future__ import annotations

import pytest
import tensorflow as tf

from laclrec_tf.serving.row_inputs import at_least_one, for_each_row, rows_fit


@pytest.mark.parametrize(
    ("value", "expected"), [(7, [7, 7]), ([7], [7, 7]), ([7, 8], [7, 8])], ids=["scalar", "one", "each"]
)
def test_each_row_gets_its_value(value, expected):
    assert for_each_row("k", tf.constant(value), tf.constant(2)).numpy().tolist() == expected


def test_no_rows():
    assert for_each_row("k", tf.constant(7), tf.constant(0)).shape == (0,)


@pytest.mark.parametrize("value", [[], [1, 2, 3], [[1, 2]], [[7]]])
def test_values_that_do_not_fit(value):
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be one value, or one for each row"):
        for_each_row("k", tf.constant(value, tf.int32), tf.constant(2))


def test_at_least_one():
    assert at_least_one("k", tf.constant([1, 5])).numpy().tolist() == [1, 5]
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be at least 1"):
        at_least_one("k", tf.constant([1, 0]))


def test_rows_fit():
    history = tf.zeros([2, 3])
    for rows in (1, 2):
        with rows_fit("exclude", tf.zeros([rows, 1]), history):
            pass
    with pytest.raises(tf.errors.InvalidArgumentError, match="exclude must have one row, or as many as history"):
        rows_fit("exclude", tf.zeros([3, 1]), history)
