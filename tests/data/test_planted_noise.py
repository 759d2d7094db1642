"""Tests of planted noise: how much there is, where it is, which items it has, and that its marks are exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.planted_noise import corrupt_events, plant_noise
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import planted_histories
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


def test_padding_is_left_out():
    histories = [np.array([5, 6, 7, 8])] * 9
    padded = [np.array([0, 5, 6, 0, 7, 8, 0])] * 9
    for expected, found in zip(
        plant_noise(histories, 0.5, n_items=N_ITEMS), plant_noise(padded, 0.5, n_items=N_ITEMS), strict=True
    ):
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


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
        ({"histories": [np.array([1, -1])]}, "`histories` must hold item ids from 1 to `n_items`=40.* Received: -1"),
        ({"never": [np.array([41])]}, "`never` must hold item ids .* Received: 41"),
        ({"histories": [np.array([41])]}, "`histories` must hold item ids .* Received: 41"),
        ({"histories": [np.array([0.5])]}, "`histories` must hold arrays of integer ids"),
        ({"histories": [["a"]]}, r"`histories` must hold arrays of integer ids. Received: \"\['a'\]\" as history 0"),
        (
            {"histories": [[[1], [1, 2]]]},
            r"`histories` must hold arrays of integer ids. Received: '\[\[1\], \[1, 2\]\]'",
        ),
        ({"histories": np.array(3)}, "`histories` must be a list of arrays"),
        ({"histories": None}, "`histories` must be a list of arrays.* Received: a NoneType"),
        ({"never": [[1], [2]]}, "`never` must have an entry for each of the 1 histories. Received: 2"),
        ({"never": [None]}, "`never` must hold arrays of integer ids. Received: 'None' as history 0"),
        ({"never": 5}, "`never` must be a list of arrays.* Received: a int"),
        ({"rate": "0.3"}, "`rate` must be from 0 to below 1. Received: '0.3'"),
        ({"rate": np.array([0.1, 0.2])}, "`rate` must be from 0 to below 1. Received: array"),
        ({"rate": None}, "`rate` must be from 0 to below 1. Received: None"),
        ({"seed": 1.5}, "`seed` must be a whole number. Received: 1.5"),
        ({"n_items": "40"}, "`n_items` must be a whole number. Received: '40'"),
        ({"n_items": -1}, "`n_items` must be at least 0. Received: -1"),
        (
            {"kind": np.array(["popular", "uniform"])},
            "`kind` must be 'popular', 'uniform' or 'replace'. Received: array",
        ),
        ({"popularity": ["a"] * N_ITEMS}, r"`popularity` must hold a number .* Received: \"\['a', 'a'"),
        ({"popularity": {1: 2}}, "`popularity` must hold a number .* Received: '{1: 2}'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        plant_noise(**{"histories": [np.array([5])], "rate": 0.1, "n_items": N_ITEMS, **arguments})


# ---- files of events -------------------------------------------------------------------------------------


def write_events(file: Path, n_users: int = 40, times: Callable[[int], object] = int) -> pl.DataFrame:
    """Write events of users, the events of all users mixed, and return them in the order of the file."""
    generator = np.random.default_rng(4)
    rows = [
        (f"u{user}", f"i{item:02}", times(1000 * place + user))
        for user in range(n_users)
        for place, item in enumerate(generator.integers(1, N_ITEMS + 1, 3 + user % 9))
    ]
    order = generator.permutation(len(rows))
    table = pl.DataFrame([rows[row] for row in order], ["user_id", "item_id", "timestamp"], orient="row")
    table.write_csv(file, separator="\t" if file.suffix == ".tsv" else ",")
    return table


def of_users(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return each user's events, oldest first, as the rest of the package orders them."""
    ordered = table.sort("user_id", "timestamp", maintain_order=True)
    return {str(user): events for (user,), events in ordered.group_by("user_id", maintain_order=True)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["anywhere", "last"])
@pytest.mark.parametrize("keep_last", [0, 1, 2])
def test_a_noisy_copy_has_the_real_events_in_order_and_ends_with_the_kept_ones(tmp_path, kind, where, keep_last):
    events = write_events(tmp_path / "events.csv")
    out, truth_file = corrupt_events(
        tmp_path / "events.csv", tmp_path / "noisy.csv", rate=0.4, kind=kind, where=where, keep_last=keep_last
    )
    copy, truth = pl.read_csv(out), pl.read_csv(truth_file)
    assert copy.equals(truth.drop("is_noise"))
    assert copy["user_id"].unique(maintain_order=True).equals(events["user_id"].unique(maintain_order=True))
    assert truth["is_noise"].any()
    noisy = of_users(truth)
    for user, before in of_users(events).items():
        after = noisy[user]
        # The rows of the file are in the order of the times already.
        assert after.equals(truth.filter(pl.col("user_id") == user))
        real = after.filter(~pl.col("is_noise"))
        assert after.tail(keep_last).drop("is_noise").equals(before.tail(keep_last))
        assert not set(after.filter("is_noise")["item_id"]) & set(before["item_id"])
        if kind != "replace":
            assert real.drop("is_noise").equals(before)
        else:
            assert after["timestamp"].equals(before["timestamp"])
        if where == "last":
            assert not after["is_noise"].head(after.height - keep_last - 1).any()


def test_inserted_events_get_times_between_their_neighbours_as_worked_out_by_hand(tmp_path):
    # Twice as many inserted events as real ones, and 10 divides into 3, 6 and 10 or 5 and 10.
    rows = "a,x,10\na,y,20\nb,z,-9223372036854775808\nb,w,9223372036854775807\n"
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\n" + rows)
    expected = {1: [10, 15, 20], 2: [10, 13, 16, 20], 3: [10, 12, 14, 16, 20], 0: [10, 20]}
    seen = set()
    for seed in range(20):
        _, truth_file = corrupt_events(
            tmp_path / "events.csv", tmp_path / "noisy.csv", rate=0.6, keep_last=0, seed=seed, overwrite=True
        )
        by_user = of_users(pl.read_csv(truth_file))
        for user, first, last in [("a", 10, 20), ("b", -(2**63), 2**63 - 1)]:
            times, marks = by_user[user]["timestamp"].to_list(), by_user[user]["is_noise"].to_list()
            assert times == sorted(times)
            start, end = marks.index(False), len(marks) - 1 - marks[::-1].index(False)
            assert set(times[: start + 1]) == {first} and set(times[end:]) == {last}
            if user == "a":
                assert times[start : end + 1] == expected[end - start - 1]
                seen.add(end - start - 1)
    assert len(seen) > 2


@pytest.mark.parametrize(
    ("times", "first"),
    [
        (lambda t: t + 0.5, "0.5"),
        (lambda t: f"2024-05-31 12:{t // 60000:02}:{t // 1000 % 60:02}.{t % 1000:03}", "2024-"),
    ],
)
def test_times_keep_their_type(tmp_path, times, first):
    events = write_events(tmp_path / "events.tsv", times=times)
    out, truth_file = corrupt_events(tmp_path / "events.tsv", tmp_path / "noisy.csv", keep_last=2)
    real = read_interactions(tmp_path / "events.tsv").sort("user_id", "timestamp")
    copy, truth = read_interactions(out), pl.read_csv(truth_file)
    assert copy.equals(truth.drop("is_noise"))
    assert copy.filter(~truth["is_noise"]).sort("user_id", "timestamp").equals(real)
    assert min(pl.read_csv(out)["timestamp"].cast(pl.String)).startswith(first)
    assert events.height == real.height


def test_the_truth_of_a_copy_is_read_as_that_of_simulated_events(tmp_path):
    write_events(tmp_path / "events.csv", times=lambda t: t + 0.25)
    out, truth_file = corrupt_events(tmp_path / "events.csv", tmp_path / "noisy.parquet", rate=0.3)
    data = prepare(out, tmp_path / "data", min_interactions=0, show_progress=False)
    users, histories = data.histories()
    planted = planted_histories(data, truth_file)
    by_user = dict(zip(sorted(users), planted, strict=True))
    for user, history in zip(users, histories, strict=True):
        assert [item for item, _ in by_user[user]] == data.vocabulary.to_items(history[:-1].tolist())
    assert any(is_noise for history in planted for _, is_noise in history)


def test_columns_keep_their_names_and_ids_their_text(tmp_path):
    rows = [
        f'{{"who": "00{user}", "what": {10 * user + item}, "when": {item}}}\n' for user in (1, 2) for item in (1, 2)
    ]
    (tmp_path / "events.jsonl").write_text("".join(rows))
    out, truth = corrupt_events(
        tmp_path / "events.jsonl",
        tmp_path / "noisy.csv",
        rate=0.5,
        user_column="who",
        item_column="what",
        time_column="when",
    )
    lines = out.read_text().splitlines()
    assert lines[0] == "who,what,when"
    assert {line.split(",")[0] for line in lines[1:]} == {"001", "002"}
    assert truth == tmp_path / "noisy.truth.csv"
    assert truth.read_text().startswith("user_id,item_id,timestamp,is_noise\n001,")


def test_a_rate_of_0_copies_the_events(tmp_path):
    events = write_events(tmp_path / "events.csv")
    out, truth = corrupt_events(tmp_path / "events.csv", tmp_path / "noisy.csv", rate=0)
    assert pl.read_csv(out).sort("user_id", "timestamp").equals(events.sort("user_id", "timestamp"))
    assert not pl.read_csv(truth)["is_noise"].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": -0.1}, "`rate` must be from 0 to below 1"),
        ({"keep_last": -1}, "`keep_last` must be at least 0. Received: -1"),
        ({"keep_last": 0.5}, "`keep_last` must be a whole number. Received: 0.5"),
        ({"item_column": "user_id"}, "must differ. Received: 'user_id', 'user_id', 'timestamp'"),
        ({"time_column": "when"}, "no column 'when'"),
        ({"out": "noisy.txt"}, "must end in .csv or .parquet"),
        ({"out": "gone/noisy.csv"}, "gone is not a folder"),
        ({"out": "events.csv"}, "events.csv exists. Give another --out"),
        ({"events": "gone.csv"}, "gone.csv does not exist"),
    ],
)
def test_a_mistake_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_events(Path("events.csv"))
    with pytest.raises(InputError, match=message):
        corrupt_events(**{"events": "events.csv", "out": "noisy.csv", **arguments})
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


def test_a_failing_write_leaves_no_file(tmp_path, monkeypatch):
    write_events(tmp_path / "events.csv")
    (tmp_path / "noisy.truth.csv").write_text("mine")
    with pytest.raises(InputError, match=r"noisy.truth.csv exists"):
        corrupt_events(tmp_path / "events.csv", tmp_path / "noisy.csv")

    def full_disk(self: pl.DataFrame, file: Path) -> None:
        Path(file).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full_disk)
    with pytest.raises(InputError, match="Cannot write .*other.csv: No space left on device"):
        corrupt_events(tmp_path / "events.csv", tmp_path / "other.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "noisy.truth.csv"]
