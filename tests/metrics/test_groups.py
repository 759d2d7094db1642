"""Groups of users and items, and their metrics, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laclrec_tf.metrics.groups import Groups, length_groups, metrics_by_group, popularity_groups


def test_lengths_are_cut_where_equally_many_are_below():
    # Sorted 1 1 2 3 5 8 9 9: the quartiles' last ones are 1, 3, 8, 9.
    groups = length_groups([9, 1, 5, 2, 1, 3, 8, 9], n_groups=4)
    assert groups.labels == ("1", "2 to 3", "5 to 8", "9")
    assert groups.members.tolist() == [3, 0, 2, 1, 0, 1, 2, 3]


def test_equally_long_histories_are_never_parted():
    assert length_groups([4, 4, 4, 4, 4, 7], n_groups=5).labels == ("4", "7")
    assert length_groups([4], n_groups=5).labels == ("4",)


def test_items_are_cut_where_their_events_fill_a_share():
    # 10 events in two shares of 5: before the items stand 0, 4, 7 and 9 events.
    groups = popularity_groups(np.array([3, 4, 2, 1]), n_groups=2)
    assert groups.labels == ("the 2 most popular", "3 to 4")
    assert groups.members.tolist() == [0, 0, 1, 1]


def test_an_item_as_large_as_two_shares_leaves_the_second_out():
    groups = popularity_groups(np.array([8, 1, 1]), n_groups=4)
    assert groups.labels == ("the most popular", "2 to 3")


def test_items_without_events_stand_apart():
    groups = popularity_groups(np.array([0, 2, 0]), n_groups=5)
    assert groups.labels == ("the most popular", "never in training")
    assert groups.members.tolist() == [1, 0, 1]


def test_metrics_of_each_group_and_how_sure_they_are():
    ranks = np.array([0, 3, 10, 1])
    first, last = metrics_by_group(ranks, Groups(("short", "none", "long"), np.array([0, 0, 0, 2])), k=10)
    # Hits 1, 1, 0; gains 1, 1/log2(5), 0.
    assert (first["group"], first["users"]) == ("short", 3)
    assert first["recall"] == pytest.approx(2 / 3)
    assert first["recall_error"] == pytest.approx(math.sqrt(1 / 3) / math.sqrt(3))
    assert first["ndcg"] == pytest.approx((1 + 1 / math.log2(5)) / 3)
    assert first["mrr"] == pytest.approx((1 + 1 / 4) / 3)
    assert (last["group"], last["users"], last["recall"]) == ("long", 1, 1.0)
    assert math.isnan(last["recall_error"])
