"""Tests of planted noise: how much there is, where it is, which items it has, and that its marks are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.planted_noise import plant_noise
from laclrec_tf.errors import InputError

N_ITEMS = 40
KINDS = ("popular", "uniform", "replace")


def random_histories(count: int, seed: int = 0, longest: int = 14) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(1, N_ITEMS + 1, n) for n in generator.integers(1, longest + 1, count)]


histories_of_ids = st.lists(
    st.lists(st.integers(1, N_ITEMS), max_size=9).map(lambda ids: np.array(ids, np.int32)), max_size=6
)


@settings(deadline=None, max_examples=60)
@given(
    histories=histories_of_ids,
    rate=st.floats(0, 0.8),
    kind=st.sampled_from(KINDS),
    where=st.sampled_from(("anywhere", "last")),
    seed=st.integers(0, 2**31),
)
def test_the_marks_are_exact_and_no_noise_is_the_historys_own(histories, rate, kind, where, seed):
    never = [np.array([7, 9])] * len(histories)
    noisy, is_noise = plant_noise(histories, rate, n_items=N_ITEMS, kind=kind, where=where, never=never, seed=seed)
    assert len(noisy) == len(is_noise) == len(histories)
    for history, items, marks in zip(histories, noisy, is_noise, strict=True):
        assert (items.dtype, marks.dtype, items.shape) == (np.int32, np.bool_, marks.shape)
        assert not set(items[marks].tolist()) & {*history.tolist(), 7, 9}
        assert np.all((items >= 1) & (items <= N_ITEMS))
        if kind == "replace":
            assert items[~marks].tolist() == history[~marks].tolist()
        else:
            assert items[~marks].tolist() == history.tolist()
        if where == "last":
            assert not marks[:-1].any()
        if not history.size:
            assert not items.size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["anywhere", "last"])
def test_a_rate_of_0_gives_the_histories_themselves(kind, where):
    histories = [*random_histories(30), np.array([], np.int64)]
    noisy, is_noise = plant_noise(histories, 0, n_items=N_ITEMS, kind=kind, where=where)
    assert [items.tolist() for items in noisy] == [history.tolist() for history in histories]
    assert not np.concatenate(is_noise).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_the_share_of_noise_is_the_rate_also_at_both_ends(kind, rate):
    histories = random_histories(20_000)
    _, is_noise = plant_noise(histories, rate, n_items=N_ITEMS, kind=kind, seed=3)
    assert np.concatenate(is_noise).mean() == pytest.approx(rate, abs=0.01)
    # Rounding makes the mean of the shares of short histories smaller than the share of all events.
    for end in (0, -1):
        assert np.mean([marks[end] for marks in is_noise]) == pytest.approx(rate, abs=0.025)


def test_a_history_gets_as_much_noise_as_worked_out_by_hand():
    # 10 events and a rate of .2: 10 * .2 / .8 = 2.5 events of noise.
    _, is_noise = plant_noise([np.arange(1, 11)] * 4000, 0.2, n_items=N_ITEMS, seed=1)
    numbers = [int(marks.sum()) for marks in is_noise]
    assert set(numbers) == {2, 3}
    assert np.mean(numbers) == pytest.approx(2.5, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_last_is_the_share_of_histories_whose_newest_event_is_noise(kind):
    histories = random_histories(20_000)
    noisy, is_noise = plant_noise(histories, 0.3, n_items=N_ITEMS, kind=kind, where="last", seed=3)
    assert np.mean([marks[-1] for marks in is_noise]) == pytest.approx(0.3, abs=0.01)
    longer = sum(map(len, noisy)) - sum(map(len, histories))
    assert longer == (0 if kind == "replace" else np.concatenate(is_noise).sum())


@pytest.mark.parametrize("kind", ["popular", "replace"])
def test_items_are_drawn_by_popularity_among_the_foreign_ones(kind):
    # The history contains 1 and 3, and 5 has no events: 2 and 4 are left, with weights 1 and 3.
    popularity = np.array([100, 1, 50, 3, 0])
    noisy, is_noise = plant_noise([np.array([1, 3, 1])] * 9000, 0.5, n_items=5, popularity=popularity, kind=kind)
    drawn = np.concatenate(noisy)[np.concatenate(is_noise)]
    assert np.bincount(drawn, minlength=6) / drawn.size == pytest.approx([0, 0, 0.25, 0, 0.75, 0], abs=0.015)


def test_without_weights_items_are_drawn_as_often_as_the_histories_contain_them():
    histories = [np.array([1, 1, 1, 2])] * 6000 + [np.array([3])] * 3000
    noisy, is_noise = plant_noise(histories, 0.5, n_items=3)
    of_threes = np.concatenate([items[marks] for items, marks in zip(noisy[6000:], is_noise[6000:], strict=True)])
    assert np.bincount(of_threes, minlength=4) / of_threes.size == pytest.approx([0, 0.75, 0.25, 0], abs=0.03)


def test_uniform_noise_is_uniform_over_the_foreign_items():
    popularity = np.array([100, 1, 50, 3, 0])
    noisy, is_noise = plant_noise(
        [np.array([1, 3])] * 9000, 0.5, n_items=5, popularity=popularity, kind="uniform", seed=2
    )
    drawn = np.concatenate(noisy)[np.concatenate(is_noise)]
    assert np.bincount(drawn, minlength=6) / drawn.size == pytest.approx([0, 0, 1 / 3, 0, 1 / 3, 1 / 3], abs=0.015)


def test_an_item_is_drawn_where_no_foreign_item_has_weight_or_none_is_left():
    noisy, is_noise = plant_noise([np.array([1, 2])] * 50, 0.5, n_items=3, popularity=np.array([4, 5, 0]))
    assert set(np.concatenate(noisy)[np.concatenate(is_noise)].tolist()) == {3}
    noisy, is_noise = plant_noise([np.array([1, 2, 3])] * 50, 0.5, n_items=3, popularity=np.array([4, 5, 0]))
    assert set(np.concatenate(noisy)[np.concatenate(is_noise)].tolist()) == {1, 2}


def test_the_seed_decides_everything():
    histories = random_histories(50)
    first, again, other = (plant_noise(histories, 0.3, n_items=N_ITEMS, seed=seed) for seed in (5, 5, 6))
    for part in (0, 1):
        assert all(np.array_equal(a, b) for a, b in zip(first[part], again[part], strict=True))
    assert not np.array_equal(np.concatenate(first[0]), np.concatenate(other[0]))


def test_no_histories_give_none():
    assert plant_noise([], 0.3, n_items=N_ITEMS) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 1.0}, "`rate` must be from 0 to below 1. Received: 1.0"),
        ({"rate": float("nan")}, "`rate` must be from 0 to below 1. Received: nan"),
        ({"kind": "rare"}, "`kind` must be 'popular', 'uniform' or 'replace'. Received: 'rare'"),
        ({"where": "first"}, "`where` must be 'anywhere' or 'last'. Received: 'first'"),
        ({"seed": -1}, "`seed` must be at least 0. Received: -1"),
        ({"popularity": np.ones(3)}, r"`popularity` must hold a number .* `n_items`=40 items. Received: shape \(3,\)"),
        ({"popularity": np.full(N_ITEMS, -1)}, "`popularity` must hold a number of at least 0"),
        ({"never": []}, "`never` must have an entry for each of the 1 histories. Received: 0"),
        ({"histories": [np.array([0, 1])]}, "`histories` must hold item ids from 1 to `n_items`=40.* Received: 0"),
        ({"histories": [np.array([41])]}, "`histories` must hold item ids .* Received: 41"),
        ({"histories": [np.array([0.5])]}, "`histories` must hold arrays of integer ids"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        plant_noise(**{"histories": [np.array([5])], "rate": 0.1, "n_items": N_ITEMS, **arguments})
