"""Random views: what each kind may change, and how often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.random_views import random_view, similar_items
from laclrec_tf.errors import InputError

N_ITEMS = 100
MASK = N_ITEMS + 2
WIDTH = 24
# Another item for each: the next one in a ring. PAD, EOS and MASK stay.
RING = np.concatenate([[0], np.arange(2, N_ITEMS + 1), [1, N_ITEMS + 1, MASK]]).astype(np.int32)


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


def views(lengths: list[int], kind: str, seed: int) -> list[tuple[list[int], list[int]]]:
    """Pairs of a history and its view, padding cut; each history's items are all different."""
    generator = np.random.default_rng(seed)
    batch = np.zeros((len(lengths), WIDTH), np.int32)
    for row, length in enumerate(lengths):
        batch[row, :length] = generator.permutation(N_ITEMS)[:length] + 1
    result = random_view(batch, mask_id=MASK, seed=seed, kinds=[kind], similar_items=RING)
    assert result.shape == batch.shape and result.dtype == tf.int32
    pairs = []
    for raw, view in zip(batch.tolist(), result.numpy().tolist(), strict=True):
        items = [i for i in view if i]
        assert view == items + [0] * (WIDTH - len(items)), "padding stands behind the items"
        pairs.append(([i for i in raw if i], items))
    return pairs


def histories_and_seeds(test):
    """Histories of 2 to 24 items under many seeds."""
    given_ = given(lengths=st.lists(st.integers(2, WIDTH), min_size=1, max_size=6), seed=st.integers(0, 10_000))
    return settings(deadline=None, derandomize=True, max_examples=25)(given_(test))


@histories_and_seeds
def test_crop_keeps_a_contiguous_part_of_six_tenths(lengths, seed):
    for raw, view in views(lengths, "crop", seed):
        assert len(view) == max(1, len(raw) * 6 // 10)
        start = raw.index(view[0])
        assert view == raw[start : start + len(view)]


@histories_and_seeds
def test_mask_masks_three_tenths_and_moves_nothing(lengths, seed):
    for raw, view in views(lengths, "mask", seed):
        masked = [position for position, item in enumerate(view) if item == MASK]
        assert len(masked) == len(raw) * 3 // 10
        assert [MASK if p in masked else item for p, item in enumerate(raw)] == view


@histories_and_seeds
def test_reorder_moves_items_inside_a_window_of_six_tenths(lengths, seed):
    for raw, view in views(lengths, "reorder", seed):
        assert sorted(view) == sorted(raw)
        moved = [position for position, (a, b) in enumerate(zip(raw, view, strict=True)) if a != b]
        assert not moved or moved[-1] - moved[0] < len(raw) * 6 // 10


@histories_and_seeds
def test_substitute_replaces_three_tenths_by_their_similar_items(lengths, seed):
    for raw, view in views(lengths, "substitute", seed):
        changed = [(a, b) for a, b in zip(raw, view, strict=True) if a != b]
        assert len(changed) == len(raw) * 3 // 10
        assert all(b == RING[a] for a, b in changed)


@pytest.mark.parametrize("kind", ["crop", "mask", "reorder", "substitute"])
def test_histories_of_one_item_and_of_none_stay_as_they_are(kind: str):
    pairs = views([1, 0, 1], kind, seed=3)
    assert [len(view) for _, view in pairs] == [1, 0, 1]
    assert all(raw == view for raw, view in pairs)


def many(history: list[int], kinds: list[str], count: int = 6000) -> Counter:
    batch = np.tile(np.array(history, np.int32), (count, 1))
    result = random_view(batch, mask_id=MASK, seed=1, kinds=kinds, similar_items=RING).numpy().tolist()
    return Counter(tuple(row) for row in result)


def test_crop_places_its_window_uniformly():
    seen = many([1, 2, 3, 4, 5], ["crop"])  # 3 of 5: three places
    assert set(seen) == {(1, 2, 3, 0, 0), (2, 3, 4, 0, 0), (3, 4, 5, 0, 0)}
    assert all(count / 6000 == pytest.approx(1 / 3, abs=0.02) for count in seen.values())


def test_mask_chooses_its_positions_uniformly():
    seen = many([1, 2, 3, 4], ["mask"])  # 1 of 4
    assert len(seen) == 4
    assert all(count / 6000 == pytest.approx(1 / 4, abs=0.02) for count in seen.values())


def test_reorder_draws_every_order_of_every_window():
    # 2 of 4: three windows, each swapped half the time.
    seen = many([1, 2, 3, 4], ["reorder"])
    assert set(seen) == {(1, 2, 3, 4), (2, 1, 3, 4), (1, 3, 2, 4), (1, 2, 4, 3)}
    assert seen[1, 2, 3, 4] / 6000 == pytest.approx(1 / 2, abs=0.02)
    assert all(seen[swapped] / 6000 == pytest.approx(1 / 6, abs=0.02) for swapped in seen if swapped != (1, 2, 3, 4))


def test_kinds_are_drawn_for_each_history_alone_and_equally_often():
    seen = Counter()
    # A long history, so that a reorder practically never leaves it as it was.
    for view, count in many(list(range(1, 25)), ["crop", "mask", "reorder"], count=3000).items():
        kind = "crop" if view[-1] == 0 else "mask" if MASK in view else "reorder"
        assert kind != "reorder" or view != tuple(range(1, 25))
        seen[kind] += count
    assert all(seen[kind] / 3000 == pytest.approx(1 / 3, abs=0.03) for kind in ("crop", "mask", "reorder"))


def test_three_tenths_of_ten_are_three_whatever_the_float_says():
    # 0.3 * 10 and 0.6 * 5 must not fall to 2 by rounding.
    for n in range(2, WIDTH + 1):
        (_, masked), (_, cropped) = views([n], "mask", seed=n)[0], views([n], "crop", seed=n)[0]
        assert (masked.count(MASK), len(cropped)) == (3 * n // 10, max(1, 6 * n // 10))


def test_a_seed_gives_the_same_views_also_in_a_graph():
    batch = tf.constant(np.tile(np.arange(1, 13, dtype=np.int32), (50, 1)))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int64)])
    def in_graph(item_ids, seed):
        return random_view(item_ids, mask_id=MASK, seed=seed)

    seed = tf.constant([7, 8], tf.int64)
    eager = random_view(batch, mask_id=MASK, seed=seed)
    assert np.array_equal(in_graph(batch, seed), eager)
    assert np.array_equal(random_view(batch, mask_id=MASK, seed=3), random_view(batch, mask_id=MASK, seed=3))
    assert not np.array_equal(random_view(batch, mask_id=MASK, seed=3), random_view(batch, mask_id=MASK, seed=4))


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["crop", "mirror"], "Received: crop, mirror"),
        ([], "Received: none"),
        (["substitute"], "`similar_items` must be given"),
    ],
)
def test_kinds_that_cannot_be_drawn_are_refused(kinds: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        random_view(tf.constant([[5, 6]]), mask_id=MASK, seed=1, kinds=kinds)
