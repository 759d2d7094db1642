"""Tests of the simulated events: the planted pattern, the planted noise, and that both can be found."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pytest

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import CATEGORIES, Simulation, planted_histories, simulate, simulate_events
from laclrec_tf.errors import InputError


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_events_and_truth_are_written(tmp_path: Path, ending):
    out = tmp_path / f"events.{ending}"
    written = simulate_events(out, users=20, items=24, noise=0.3, seed=5)
    assert written == (out, tmp_path / "events.truth.csv", tmp_path / "events.transitions.csv")
    assert sorted(tmp_path.iterdir()) == sorted(written)
    simulation = simulate(n_users=20, n_items=24, noise=0.3, seed=5)
    assert read_interactions(out).equals(simulation.events)
    assert pl.read_csv(written[1]).equals(simulation.truth)
    assert pl.read_csv(written[2]).equals(simulation.transitions)


@pytest.fixture
def prepared(tmp_path):
    _, truth, _ = simulate_events(tmp_path / "events.csv", users=20, items=24, noise=0.3, seed=5)
    return prepare(tmp_path / "events.csv", tmp_path / "data", min_interactions=0, show_progress=False), truth


def test_the_truth_is_read_like_every_text_file(prepared, tmp_path):
    data, truth = prepared
    expected = planted_histories(data, truth)
    assert sum(is_noise for history in expected for _, is_noise in history) > 20
    content = truth.read_bytes()
    changed = b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n").replace(b"true", b"TRUE").replace(b"false", b"FALSE")
    (tmp_path / "excel.csv").write_bytes(changed)
    (tmp_path / "zipped.csv").write_bytes(gzip.compress(content))
    pl.read_csv(truth).write_parquet(tmp_path / "truth.parquet")
    for name in ("excel.csv", "zipped.csv", "truth.parquet"):
        assert planted_histories(data, tmp_path / name) == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("u,i,3,perhaps", r"row 2 \(line 3\): the is_noise must be true or false. Received: 'perhaps'"),
        ("u,i,soon,true", r"row 2 \(line 3\): the timestamp must be a number. Received: 'soon'"),
        ("u,,3,true", r"row 2 \(line 3\): the item_id must be text. Received: None"),
        ("u,caf\xe9,3,true", r"row 2 \(line 3\) is not UTF-8 text. Save the file as UTF-8"),
    ],
)
def test_a_wrong_row_of_the_truth_is_named(prepared, tmp_path, row, problem):
    file = tmp_path / "wrong.csv"
    file.write_text(f"user_id,item_id,timestamp,is_noise\nu,i,1,false\n{row}\n", encoding="latin-1")
    with pytest.raises(InputError, match=f"{problem}. Give the .truth.csv file that `laclrec-tf simulate` wrote"):
        planted_histories(prepared[0], file)


@pytest.mark.parametrize("existing", ["events.csv", "events.truth.csv", "events.transitions.csv"])
def test_no_file_is_overwritten_unasked(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(InputError, match=f"{existing} exists. Give another --out"):
        simulate_events(tmp_path / "events.csv", users=5)
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"
    simulate_events(tmp_path / "events.csv", users=5, overwrite=True)
    assert read_interactions(tmp_path / "events.csv")["user_id"].n_unique() == 5


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="gone is not a folder. Create it first"):
        simulate_events(tmp_path / "gone" / "events.csv", users=5)
    with pytest.raises(InputError, match="events.xlsx: the name of the file to write must end in .csv or .parquet"):
        simulate_events(tmp_path / "events.xlsx", users=5)
    (tmp_path / "events.csv").mkdir()
    with pytest.raises(InputError, match="events.csv is a folder"):
        simulate_events(tmp_path / "events.csv", users=5, overwrite=True)


def test_a_reason_without_a_number_is_given_too(tmp_path, monkeypatch):
    def refuse(self: pl.DataFrame, file: Path) -> None:
        raise OSError("No such file or directory (os error 2)")  # as polars raises it

    monkeypatch.setattr(pl.DataFrame, "write_csv", refuse)
    with pytest.raises(
        InputError, match=r"Cannot write .*events.csv: No such file or directory \(os error 2\). Choose"
    ):
        simulate_events(tmp_path / "events.csv", users=5)


def test_wrong_arguments_leave_nothing(tmp_path):
    with pytest.raises(InputError, match="`n_users`"):
        simulate_events(tmp_path / "events.csv", users=0)
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(self: pl.DataFrame, file: Path) -> None:
        Path(file).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full_disk)
    with pytest.raises(InputError, match="Cannot write .*events.csv: No space left on device"):
        simulate_events(tmp_path / "events.csv", users=5)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate()


def walks(simulation: Simulation) -> pl.DataFrame:
    return (
        simulation.truth.sort("user_id", "timestamp", maintain_order=True)
        .group_by("user_id", maintain_order=True)
        .agg("item_id", "category", "is_noise", "timestamp")
    )


def test_sizes_and_names(simulation):
    assert simulation.events.columns == ["user_id", "item_id", "timestamp"]
    assert simulation.truth.columns == ["user_id", "item_id", "timestamp", "category", "is_noise"]
    assert simulation.transitions.columns == ["item_id", "next_item_id", "probability"]
    assert simulation.events.equals(simulation.truth.select("user_id", "item_id", "timestamp"))
    assert simulation.events["user_id"].n_unique() == 2000
    assert simulation.events["item_id"].n_unique() == 300
    lengths = walks(simulation)["item_id"].list.len()
    assert lengths.min() >= 5
    assert lengths.mean() == pytest.approx(12, abs=0.3)
    names = set(simulation.transitions["item_id"])
    assert {"tent-01", "tent-25", "sleeping-bag-07"} < names
    assert len(names) == 300


def test_events_are_in_the_order_of_time_and_each_user_has_one_at_a_time(simulation):
    assert simulation.events["timestamp"].is_sorted()
    assert simulation.events.select("user_id", "timestamp").is_unique().all()


def test_categories_are_those_of_the_items(simulation):
    named = simulation.truth["item_id"].str.replace(r"-\d+$", "")
    assert named.equals(simulation.truth["category"], check_names=False)


def test_clean_events_follow_planted_transitions(simulation):
    planted = {(item, following) for item, following, _ in simulation.transitions.iter_rows()}
    for _, items, categories, is_noise, _ in walks(simulation)[:200].iter_rows():
        clean = [item for item, noisy in zip(items, is_noise, strict=True) if not noisy]
        assert set(zip(clean, clean[1:], strict=False)) <= planted
        places = [CATEGORIES.index(c) for c, noisy in zip(categories, is_noise, strict=True) if not noisy]
        assert all((right - left) % 12 == 1 for left, right in zip(places, places[1:], strict=False))


def test_transitions_are_probabilities_of_items_of_the_next_category(simulation):
    sums = simulation.transitions.group_by("item_id").agg(pl.col("probability").sum(), pl.len())
    assert sums["probability"].to_list() == pytest.approx([1.0] * 300)
    assert sums["len"].unique().to_list() == [4]
    assert not simulation.transitions.select("item_id", "next_item_id").is_duplicated().any()


def test_planted_probabilities_are_met(simulation):
    walked = walks(simulate(n_users=5000, n_items=24, noise=0, seed=3))
    pairs = Counter()
    for items in walked["item_id"]:
        pairs.update(zip(items, items[1:], strict=False))
    planted = simulate(n_users=1, n_items=24, noise=0, seed=3).transitions
    for item in ("tent-01", "fishing-rod-02"):
        rows = planted.filter(pl.col("item_id") == item)
        total = sum(pairs[item, following] for following in rows["next_item_id"])
        for _, following, probability in rows.iter_rows():
            assert pairs[item, following] / total == pytest.approx(probability, abs=0.03)


def noise_is_never_of_the_category_due(categories: list[str], is_noise: list[bool]) -> bool:
    due = None
    for category, noisy in zip(categories, is_noise, strict=True):
        if noisy and category == due:
            return False
        if not noisy:
            due = CATEGORIES[(CATEGORIES.index(category) + 1) % 12]
    return True


def test_noise_is_elsewhere_as_frequent_as_asked_and_never_at_the_end(simulation):
    walked = walks(simulation)
    flags = pl.col("is_noise")
    last, before = flags.list.tail(2), flags.list.head(flags.list.len() - 2)
    assert not walked.select(last.explode().any()).item()
    assert walked.select(before.explode().mean()).item() == pytest.approx(0.15, abs=0.01)
    for _, _, categories, is_noise, _ in walked[:200].iter_rows():
        assert noise_is_never_of_the_category_due(categories, is_noise)


def test_without_the_options_of_noise_the_events_stay_those_of_earlier_versions():
    hashes = []
    for simulation in (simulate(), simulate(n_users=300, n_items=61, noise=0.3, seed=7)):
        content = simulation.truth.write_csv() + simulation.transitions.write_csv()
        hashes.append(hashlib.sha256(content.encode()).hexdigest())
    assert hashes == [
        "838330f55494cf8cf87381af9f38d0fd78c3195bd667c354b8761a8983519595",
        "83ec23711595878639057554ef6797aa61b7f6c9caf443ff6a2ad446c391514c",
    ]


@pytest.mark.parametrize("noise_kind", ["uniform", "popular"])
def test_noise_anywhere_is_everywhere_but_in_the_last_event(noise_kind):
    simulation = simulate(noise=0.2, noise_anywhere=True, noise_kind=noise_kind, seed=3)
    planted = {(item, following) for item, following, _ in simulation.transitions.iter_rows()}
    walked = walks(simulation)
    assert not walked.select(pl.col("is_noise").list.last().any()).item()
    for place in (0, -2, -3):
        assert walked.select(pl.col("is_noise").list.get(place).mean()).item() == pytest.approx(0.2, abs=0.025)
    for _, items, categories, is_noise, _ in walked[:200].iter_rows():
        clean = [item for item, noisy in zip(items, is_noise, strict=True) if not noisy]
        assert set(zip(clean, clean[1:], strict=False)) <= planted
        assert noise_is_never_of_the_category_due(categories, is_noise)


def test_popular_noise_has_the_popularity_of_the_real_events():
    # Of 13 items two are tents. So each tent has half as many real events as an item of another category, and half as
    # much noise. With uniform noise they had as much noise as the others.
    def shares(noise_kind: str) -> tuple[float, float]:
        truth = simulate(4000, 13, 0.3, noise_kind=noise_kind, noise_anywhere=True).truth
        is_tent = truth["item_id"].str.starts_with("tent")
        return tuple(is_tent.filter(truth["is_noise"] == noisy).mean() for noisy in (False, True))

    real, noise = shares("popular")
    assert (real, noise) == pytest.approx((1 / 12, 1 / 12), abs=0.01)
    assert shares("uniform")[1] > 1.5 / 12


def test_popular_noise_of_a_single_user():
    for seed in range(20):
        truth = simulate(1, 12, 0.9, seed, 5, noise_anywhere=True, noise_kind="popular").truth
        assert not truth["is_noise"][-1]


def test_no_noise_is_none():
    assert not simulate(n_users=50, noise=0).truth["is_noise"].any()


@pytest.mark.parametrize("n_items", [12, 13, 23, 100])
def test_catalogues_that_twelve_does_not_divide(n_items):
    simulation = simulate(n_users=400, n_items=n_items, noise=0.4)
    assert simulation.events["item_id"].n_unique() == n_items
    assert simulation.transitions["item_id"].n_unique() == n_items
    sums = simulation.transitions.group_by("item_id").agg(pl.col("probability").sum())["probability"]
    assert sums.to_list() == pytest.approx([1.0] * n_items)


def test_the_seed_decides_everything():
    first, again, other = simulate(50, seed=7), simulate(50, seed=7), simulate(50, seed=8)
    assert first.truth.equals(again.truth) and first.transitions.equals(again.transitions)
    assert not first.truth.equals(other.truth) and not first.transitions.equals(other.transitions)


def test_a_first_order_model_finds_the_pattern_and_popularity_does_not(simulation):
    histories = walks(simulation)["item_id"].to_list()
    popularity: Counter[str] = Counter()
    following: dict[str, Counter[str]] = defaultdict(Counter)
    for items in histories:
        popularity.update(items[:-2])
        for left, right in zip(items[:-2], items[1:-2], strict=False):
            following[left][right] += 1

    def recall(counts_of) -> float:
        hits = [items[-1] in dict(counts_of(items[-2]).most_common(10)) for items in histories]
        return sum(hits) / len(hits)

    assert recall(lambda item: following[item]) > 0.9
    assert recall(lambda item: popularity) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_users": 0}, "`n_users` must be at least 1. Received: 0"),
        ({"n_items": 11}, "`n_items` must be at least 12, one for each category. Received: 11"),
        ({"noise": 1.0}, "`noise` must be from 0 to below 1. Received: 1.0"),
        ({"noise": -0.1}, "`noise` must be from 0 to below 1. Received: -0.1"),
        ({"noise": float("nan")}, "`noise` must be from 0 to below 1. Received: nan"),
        ({"seed": -1}, "`seed` must be at least 0. Received: -1"),
        ({"noise_kind": "replace"}, "`noise_kind` must be 'uniform' or 'popular'. Received: 'replace'"),
        ({"mean_length": 4}, "`mean_length` must be from 5 to below 1000. Received: 4"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError) as raised:
        simulate(**arguments)
    assert message in str(raised.value)
