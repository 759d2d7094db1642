"""Buckets: about equally many targets in a batch of any length, and little padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.buckets import BUCKETS, batch_sizes


def test_a_batch_holds_about_equally_many_targets():
    # 512 targets over the middle of a bucket: 2.5 of 1 to 4 items, 28.5 of 25 to 32, 180.5 of 161 to 200.
    sizes = batch_sizes(512)
    assert len(sizes) == len(BUCKETS) + 1
    assert (sizes[0], sizes[6], sizes[-1]) == (205, 18, 1)
    assert batch_sizes(1) == [1] * len(sizes)
    assert BUCKETS[16:18] == (192, 224) and sizes[17] == 2  # 512 over 208.5
    assert batch_sizes(512, max_length=200)[17] == 3  # 512 over 196.5


def test_batches_of_short_histories_are_what_they_were():
    # A seed gives the same batches as before buckets went beyond 32.
    for max_length in (None, 3, 20, 32, 50, 200):
        assert batch_sizes(512, max_length)[:7] == [205, 93, 68, 49, 35, 25, 18]
        assert batch_sizes(60, max_length)[:7] == [24, 11, 8, 6, 4, 3, 2]


def test_few_buckets_hold_all_lengths_with_little_padding():
    assert np.all(np.diff(BUCKETS) > 0)
    longer = np.array(BUCKETS[6:])
    assert np.all(longer[1:] <= 1.25 * longer[:-1])
    assert np.searchsorted(BUCKETS, [50, 200, 1000]).tolist() == [9, 17, 26]


@given(length=st.integers(33, 70_000), targets=st.integers(1, 5000), max_length=st.none() | st.integers(33, 3000))
def test_a_batch_of_long_histories_exceeds_the_targets_by_less_than_one_history(length, targets, max_length):
    length = min(length, max_length or length)
    size = batch_sizes(targets, max_length)[np.searchsorted(BUCKETS, length)]
    assert size >= 1 and (size - 1) * length < targets
