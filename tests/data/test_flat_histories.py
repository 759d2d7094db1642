"""Flat histories: batches hold the histories they were asked for, padded."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.batches import FlatHistories

HISTORIES = [np.array(row, np.int32) for row in ([5, 6, 7], [], [8], [9, 3])]


def test_bounds_are_where_histories_begin_and_end():
    assert FlatHistories(HISTORIES).bounds.tolist() == [[0, 3], [3, 3], [3, 4], [4, 6]]


def test_a_batch_is_as_wide_as_its_longest_history_or_as_asked():
    flat = FlatHistories(HISTORIES)
    batch = flat.gather(flat.bounds[1:])
    assert batch.dtype == tf.int32
    assert batch.numpy().tolist() == [[0, 0], [8, 0], [9, 3]]
    assert flat.gather(flat.bounds[2:], width=3).numpy().tolist() == [[8, 0, 0], [9, 3, 0]]


def test_there_may_be_no_histories():
    assert FlatHistories([]).bounds.shape == (0, 2)


@given(rows=st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_every_history_is_found_in_any_order(rows, seed):
    flat = FlatHistories([np.array(row, np.int64) for row in rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    batch = flat.gather(flat.bounds[order]).numpy().tolist()
    assert [[item for item in row if item] for row in batch] == [rows[i] for i in order]
