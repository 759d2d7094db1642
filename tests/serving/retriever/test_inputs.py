"""Inputs for every row or for each one."""

from __future__ import annotations

import pytest
import tensorflow as tf

from laclrec_tf.serving.retriever.inputs import MAX_ITEMS, at_least_one, dense_rows, for_each_row, rows_fit, slots


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


def test_one_long_list_among_many_short_ones():
    def lists(rows: int) -> tf.SparseTensor:
        return tf.SparseTensor([[0, 2**12 - 1]], ["tent"], [rows, 2**12])

    assert dense_rows("history", lists(3)).shape == (3, 2**12)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"history may have {MAX_ITEMS} items"):
        dense_rows("history", lists(MAX_ITEMS // 2**12 + 1))


def test_all_items_for_many_rows():
    all_items, n_items = tf.constant(2**31 - 1), 2**14
    assert slots(all_items, n_items, tf.constant(MAX_ITEMS // n_items)).numpy() == n_items
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"k requests more than {MAX_ITEMS} items in total"):
        slots(all_items, n_items, tf.constant(MAX_ITEMS // n_items + 1))
