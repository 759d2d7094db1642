"""Tests of leave-one-out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.splits import (
    SplitHistories,
    held_out,
    is_set_aside,
    repeated_targets,
    repeats,
    training_part,
    training_windows,
)
from laclrec_tf.errors import InputError

HISTORY = np.array([5, 6, 7, 8, 9], np.int32)


@pytest.mark.parametrize(
    ("length", "strict", "refit"),
    [(0, [], []), (1, [5], [5]), (2, [5, 6], [5, 6]), (3, [5], [5, 6]), (5, [5, 6, 7], [5, 6, 7, 8])],
)
def test_training_parts(length, strict, refit):
    assert training_part(HISTORY[:length]).tolist() == strict
    assert training_part(HISTORY[:length], "strict").tolist() == strict
    assert training_part(HISTORY[:length], "refit").tolist() == refit


@pytest.mark.parametrize(
    ("length", "validation", "test"),
    [
        (0, None, None),
        (2, None, None),
        (3, ([5], 6), ([5, 6], 7)),
        (5, ([5, 6, 7], 8), ([5, 6, 7, 8], 9)),
    ],
)
def test_held_out_items(length, validation, test):
    for split, expected in (("validation", validation), ("test", test)):
        found = held_out(HISTORY[:length], split)
        assert (None if found is None else (found[0].tolist(), found[1])) == expected


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="`protocol` must be strict or refit. Received: 'full'"):
        training_part(HISTORY, "full")
    with pytest.raises(InputError, match="`split` must be validation or test. Received: 'train'"):
        held_out(HISTORY, "train")


@given(st.lists(st.integers(1, 99), min_size=3, max_size=60))
def test_no_target_is_trained_on(items):
    history = np.array(items)
    for split in ("validation", "test"):
        before, target = held_out(history, split)
        strict = training_part(history)
        assert strict.tolist() == items[:-2]
        assert before[: len(strict)].tolist() == strict.tolist()
        assert [*before.tolist(), target] == items[: len(before) + 1]
    assert [*training_part(history, "refit").tolist(), held_out(history, "test")[1]] == items


@given(n=st.integers(0, 200), max_length=st.integers(1, 60))
def test_over_all_windows_each_event_is_a_target_once(n, max_length):
    history = np.arange(1, n + 1)
    windows = training_windows(history, max_length, "sliding")
    assert [item for window in windows for item in window[1:].tolist()] == history[1:].tolist()
    assert [window[0] for window in windows[1:]] == [window[-1] for window in windows[:-1]]
    # The oldest may be shorter; all others have as many items as the model reads, and a last target.
    assert all(len(window) == max_length + 1 for window in windows[1:])
    assert len(windows[0]) <= max_length + 1


@given(n=st.integers(0, 200), max_length=st.integers(1, 60))
def test_the_newest_window_is_the_last_events(n, max_length):
    history = np.arange(1, n + 1)
    last = training_windows(history, max_length)
    assert [window.tolist() for window in last] == [history[-(max_length + 1) :].tolist()]
    assert training_windows(history, max_length, "sliding")[-1].tolist() == last[0].tolist()
    # A window is not cut again.
    assert [part.tolist() for part in training_windows(last[0], max_length, "sliding")] == [last[0].tolist()]


@given(st.lists(st.integers(1, 9), max_size=9))
def test_repeats_are_targets_in_the_history_before_them(items):
    found = repeats(items)
    assert repeats(np.array(items)) == found
    for split, of_split in (("test", found[:2]), ("validation", found[2:])):
        pair = held_out(np.array(items), split)
        assert of_split == ((0, 0) if pair is None else (1, pair[1] in pair[0].tolist()))


def test_repeated_targets_are_shares_of_the_users_with_an_item_of_the_split():
    # With other hold-outs, a user may have one of the two items only.
    only = [repeats([1, 2, 3], (3, 3)), repeats([1, 1, 2, 1], (1, 4)), repeats([1, 2, 3, 1], (2, 4))]
    assert only == [(0, 0, 0, 0), (0, 0, 1, 1), (0, 0, 1, 0)]
    assert repeats([1, 2, 1], (2, 2)) == (1, 1, 0, 0)
    assert repeated_targets([*only, (1, 1, 0, 0)]) == {"repeated_targets": 1.0, "repeated_validation_targets": 0.5}

    found = repeated_targets(map(repeats, [[1, 2, 1], [1, 1, 2], [1, 1, 1], [1, 2, 3], [1, 1]]))
    assert found == {"repeated_targets": 0.5, "repeated_validation_targets": 0.5}
    assert repeated_targets([]) == {"repeated_targets": 0.0, "repeated_validation_targets": 0.0}


@given(st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=6))
def test_leave_one_out_of_all_histories_is_that_of_each(items):
    users, histories = [f"u{row}" for row in range(len(items))], [np.array(each, np.int32) for each in items]
    split = SplitHistories.leave_one_out(users, histories)
    for protocol in ("strict", "refit"):
        expected = [training_part(history, protocol).tolist() for history in histories]
        assert [part.tolist() for part in split.training(protocol)] == expected
    for name in ("validation", "test"):
        pairs = [held_out(history, name) for history in histories]
        assert split.has_item(name).tolist() == [pair is not None for pair in pairs]
        found = [(before.tolist(), target) for before, target in split.pairs(name)]
        assert found == [(before.tolist(), target) for before, target in filter(None, pairs)]


def test_users_set_aside_lose_the_event_before_the_validation_item():
    users = [f"u{row}" for row in range(40)]
    histories = [np.arange(1, 2 + row % 8, dtype=np.int32) for row in range(40)]
    split = SplitHistories.leave_one_out(users, histories)
    aside = split.is_set_aside(0.5)
    expected = [len(each) >= 5 and is_set_aside(user, 3, 0.5) for user, each in zip(users, histories, strict=True)]
    assert aside.tolist() == expected and 0 < aside.sum() < 20
    for is_aside, kept, whole in zip(aside, split.training("strict", 0.5), split.training("strict"), strict=True):
        assert kept.tolist() == (whole[:-1] if is_aside else whole).tolist()
    assert [len(part) for part in split.training("refit", 0.5)] == [len(part) for part in split.training("refit")]
    assert split.of(aside).users == [user for user, is_aside in zip(users, aside, strict=True) if is_aside]
    # Without a validation item there is nothing to fit to.
    assert not SplitHistories(users, histories, np.repeat([[len(h)] for h in histories], 2, 1)).is_set_aside(1.0).any()


def test_unknown_names_are_refused_for_all_histories():
    split = SplitHistories.leave_one_out(["ann"], [HISTORY])
    with pytest.raises(InputError, match="`protocol` must be strict or refit. Received: 'test'"):
        split.training("test")
    with pytest.raises(InputError, match="`split` must be validation or test. Received: 'strict'"):
        split.pairs("strict")
