"""Tests of co-occurrence substitutes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.random_views import similar_items
from laclrec_tf.errors import InputError


def test_the_most_frequent_neighbour_wins_and_the_smaller_id_on_ties():
    histories = [np.array([1, 2, 3]), np.array([3, 2]), np.array([4, 1])]
    # Distance 1: {1,2} 1, {2,3} 2, {4,1} 1. So 1 has 2 and 4 alike, 2 has 3, 3 has 2, 4 has 1, 5 has nobody.
    assert similar_items(histories, n_items=5, window=1).tolist() == [0, 2, 3, 2, 1, 5, 6, 7]
    # Distance 2 adds {1,3} 1: now 1 has 2, 3 and 4 alike.
    assert similar_items(histories, n_items=5).tolist() == [0, 2, 3, 2, 1, 5, 6, 7]


def test_the_window_reaches_over_items_but_not_over_histories():
    histories = [np.array([3, 1, 4]), np.array([3, 2, 4]), np.array([1])]
    assert similar_items(histories, n_items=4, window=2).tolist() == [0, 3, 3, 4, 3, 5, 6]
    assert similar_items(histories, n_items=4, window=1).tolist() == [0, 3, 3, 1, 1, 5, 6]


def test_an_item_is_not_its_own_substitute_by_repetition():
    assert similar_items([np.array([1, 1, 1, 2])], n_items=2).tolist() == [0, 2, 1, 3, 4]


def test_without_neighbours_all_stand_for_themselves():
    for histories in ([], [np.array([], np.int32)], [np.array([2])]):
        table = similar_items(histories, n_items=2)
        assert table.tolist() == [0, 1, 2, 3, 4]
        assert table.dtype == np.int32


@given(st.lists(st.lists(st.integers(1, 6), max_size=9), max_size=6), st.integers(1, 4))
def test_it_is_what_counting_gives(histories, window):
    counts = {item: Counter() for item in range(1, 7)}
    for history in histories:
        for left, item in enumerate(history):
            for right in range(left + 1, min(left + window + 1, len(history))):
                if history[right] != item:
                    counts[item][history[right]] += 1
                    counts[history[right]][item] += 1
    expected = [0]
    for item, others in counts.items():
        expected.append(min(others, key=lambda other: (-others[other], other)) if others else item)
    found = similar_items([np.array(history, np.int32) for history in histories], 6, window)
    assert found.tolist() == [*expected, 7, 8]


def test_arguments_are_checked():
    with pytest.raises(InputError, match="`window` must be at least 1. Received: 0"):
        similar_items([np.array([1, 2])], n_items=2, window=0)
    with pytest.raises(InputError, match="ids from 1 to 2. Received: 0 to 3"):
        similar_items([np.array([0, 3])], n_items=2)
