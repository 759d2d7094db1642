"""Padding, masks and packing: hand-worked rows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.ops.masking import (
    gather_last,
    history_lengths,
    is_item,
    pack_kept,
    pad_histories,
    positions_where,
    take_prefixes,
    trim_padding,
)


def test_is_item_is_true_at_everything_but_padding():
    # 8 and 9 stand for EOS and MASK of a catalogue of 7: attention may look at them.
    assert is_item(tf.constant([[7, 8, 9, 0]])).numpy().tolist() == [[True, True, True, False]]


def test_history_lengths_counts_real_positions():
    assert history_lengths(tf.constant([[7, 9, 0], [0, 0, 0], [1, 2, 3]])).numpy().tolist() == [2, 0, 3]


def test_gather_last_takes_the_last_real_position_not_the_last_column():
    hidden = tf.reshape(tf.range(12.0), [2, 3, 2])  # rows 0..5 and 6..11, two numbers a position
    assert gather_last(hidden, tf.constant([2, 3])).numpy().tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_gather_last_of_an_empty_history_takes_position_0():
    hidden = tf.reshape(tf.range(6.0), [1, 3, 2])
    assert gather_last(hidden, tf.constant([0])).numpy().tolist() == [[0.0, 1.0]]


def test_gather_last_takes_several_prefixes_of_a_history():
    hidden = tf.reshape(tf.range(6.0), [1, 3, 2])
    assert gather_last(hidden, tf.constant([[3, 1]])).numpy().tolist() == [[[4.0, 5.0], [0.0, 1.0]]]


def test_take_prefixes_keeps_the_prefixes_of_a_history_together():
    prefixes = take_prefixes(tf.constant([[7, 9, 4], [5, 6, 0]]), tf.constant([[3, 1], [2, 1]]))
    assert prefixes.numpy().tolist() == [[7, 9, 4], [7, 0, 0], [5, 6, 0], [5, 0, 0]]


def test_trim_padding_keeps_the_longest_history_whole():
    assert trim_padding(tf.constant([[7, 9, 0, 0], [4, 0, 0, 0]])).numpy().tolist() == [[7, 9], [4, 0]]


def test_trim_padding_keeps_one_column_of_empty_histories():
    assert trim_padding(tf.constant([[0, 0], [0, 0]])).numpy().tolist() == [[0], [0]]


def test_pack_kept_moves_the_kept_values_to_the_front_in_order():
    values = tf.constant([[5, 6, 7, 8], [1, 2, 3, 4]])
    keep = tf.constant([[True, False, True, True], [False, False, False, False]])
    assert pack_kept(values, keep, 4).numpy().tolist() == [[5, 7, 8, 0], [0, 0, 0, 0]]


def test_pack_kept_drops_the_oldest_when_too_many_are_kept():
    values = tf.constant([[5, 6, 7, 8]])
    keep = tf.constant([[True, True, False, True]])
    assert pack_kept(values, keep, 2).numpy().tolist() == [[6, 8]]


def test_pack_kept_may_be_wider_than_the_values():
    assert pack_kept(tf.constant([[5, 6]]), tf.constant([[False, True]]), 4).numpy().tolist() == [[6, 0, 0, 0]]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(0, 15))
def test_positions_are_those_of_the_mask_and_fill_up_to_a_static_number(rows, spare):
    mask = tf.constant(rows)
    true_at = np.flatnonzero(np.array(rows)).tolist()
    positions, weights = positions_where(mask)
    assert positions.numpy().tolist() == true_at
    assert weights.numpy().tolist() == [1.0] * len(true_at)

    positions, weights = positions_where(mask, static_shapes=True)
    assert positions.numpy().tolist() == list(range(3 * len(rows)))
    assert np.flatnonzero(weights.numpy()).tolist() == true_at

    length = min(len(true_at) + spare, 3 * len(rows))
    positions, weights = positions_where(mask, static_shapes=True, max_positions=length)
    assert len(positions) == len(weights) == length
    assert positions.numpy()[weights.numpy() > 0].tolist() == true_at
    assert len(set(positions.numpy().tolist())) == length


def test_pad_histories_is_as_wide_as_the_longest_and_at_least_1():
    padded = pad_histories([np.array([7, 9], np.int64), [], (4,)])
    assert padded.dtype == np.int32
    assert padded.tolist() == [[7, 9], [0, 0], [4, 0]]
    assert pad_histories([[], []]).tolist() == [[0], [0]]
    assert pad_histories([]).shape == (0, 1)
