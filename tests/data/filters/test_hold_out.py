"""Held-out items by time and by session: worked by hand, nothing later trained on, read back from the folder."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data import splits
from laclrec_tf.data.filters.hold_out import held_out_counts, held_out_line, mark_held_out, time_text
from laclrec_tf.data.filters.settings import Filters, dropped_by_filter
from laclrec_tf.data.formats.layouts import Reading
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.timestamps import UnknownUnitWarning
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate_users
from laclrec_tf.serving.version.metadata import ModelMetrics
from laclrec_tf.serving.version.model_card import model_card
from laclrec_tf.training import session
from laclrec_tf.training.train import train

# Item and time. Validation begins at 10 and test at 20.
EVENTS = {
    "both": [("a", 1), ("b", 2), ("c", 10), ("d", 11), ("e", 25), ("f", 26)],
    "test only": [("a", 3), ("b", 4), ("c", 20)],
    "validation only": [("a", 5), ("b", 6), ("c", 12), ("d", 13)],
    "neither": [("a", 1), ("b", 9)],
    "new in test": [("a", 21), ("b", 22)],
    "new in validation": [("a", 15), ("c", 16), ("b", 28)],
}
CUTS = {"hold_out": "time", "validation_from": "10", "test_from": "20"}


def prepared(folder: Path, events: dict[str, list[tuple[str, object]]] = EVENTS, **settings: object) -> PreparedData:
    rows = [(user, *event) for user, of_user in events.items() for event in of_user]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    settings = {"min_interactions": 0, "overwrite": True, "show_progress": False, **settings}
    return prepare(table, folder / "data", **settings)


def named(data: PreparedData, items: list[int] | np.ndarray) -> str:
    return "".join(data.vocabulary.to_items(list(items)))


def held_out(data: PreparedData, split: str) -> dict[str, tuple[str, str]]:
    found = data.split()
    users = np.array(found.users)[found.has_item(split)]
    pairs = found.pairs(split)
    return {user: (named(data, before), named(data, [item])) for user, (before, item) in zip(users, pairs, strict=True)}


def test_by_time_nothing_later_is_trained_on(tmp_path):
    data = prepared(tmp_path, **CUTS)
    split = data.split()
    strict, refit = (
        {user: named(data, items) for user, items in zip(split.users, split.training(protocol), strict=True)}
        for protocol in ("strict", "refit")
    )
    no_later = {"test only": "ab", "neither": "ab", "new in test": ""}
    assert strict == no_later | {"both": "ab", "validation only": "ab", "new in validation": ""}
    assert refit == no_later | {"both": "abcd", "validation only": "abcd", "new in validation": "ac"}
    assert held_out(data, "validation") == {"both": ("ab", "c"), "validation only": ("ab", "c")}
    # A user who is new in the test period has no history, and one who is new in the validation period has one.
    assert held_out(data, "test") == {
        "both": ("abcd", "e"),
        "test only": ("ab", "c"),
        "new in validation": ("ac", "b"),
    }
    assert (data.counts["validation_users"], data.counts["test_users"]) == (2, 3)
    assert data.counts["unseen_test_items"] == pytest.approx(2 / 3)  # e and c, which no strict training has seen
    assert (data.hold_out, data.counts["validation_from"], data.counts["test_from"]) == ("time", 10, 20)
    assert data.repeated_targets == 0


def test_all_events_are_kept_after_the_validation_time_and_the_last_ones_before(tmp_path):
    data = prepared(tmp_path, {"ann": [(letter, time) for time, letter in enumerate("abcdefghij")]}, max_length=3,
                    window="last", hold_out="time", validation_from="5", test_from="7")  # fmt: skip
    assert [named(data, items) for items in data.histories()[1]] == ["cdefghij"]
    assert held_out(data, "test") == {"ann": ("cdefg", "h")}
    assert data.counts["beyond_max_length_dropped"] == 2
    assert dropped_by_filter(data.counts, data.settings)[-1].what == "older than a user's last 3 to train on"
    whole = prepared(tmp_path, {"ann": [(letter, time) for time, letter in enumerate("abcdefghij")]}, max_length=3,
                     hold_out="time", validation_from="5", test_from="7")  # fmt: skip
    assert whole.window == "sliding"  # by the data
    assert held_out(whole, "test") == {"ann": ("abcdefg", "h")}


def test_without_times_a_tenth_of_the_events_is_validated_and_tested(tmp_path):
    events = {f"u{user}": [(f"i{time % 7}", 5 * time + user) for time in range(20)] for user in range(5)}
    data = prepared(tmp_path, events, hold_out="time")
    assert (data.counts["validation_from"], data.counts["test_from"]) == (80, 90)  # of 0 ... 99
    assert {len(items) for items in data.split().training()} == {16}


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_dates_are_compared_with_times_of_any_unit(tmp_path, unit):
    start = 1_700_000_000  # 2023-11-14 22:13:20
    events = {"ann": [(letter, (start + day * 86_400) * unit) for day, letter in enumerate("abcde")]}
    data = prepared(tmp_path, events, hold_out="time", validation_from="2023-11-17", test_from="2023-11-18T12:00")
    assert held_out(data, "validation") == {"ann": ("abc", "d")}
    assert held_out(data, "test") == {"ann": ("abcd", "e")}
    line = held_out_line(data.counts)
    assert "from 2023-11-17 00:00:00 and 2023-11-18 12:00:00 on: a validation item of 1 users" in line


def test_a_column_of_dates_is_cut_at_dates(tmp_path):
    events = {"ann": [(letter, f"2024-05-0{day}") for day, letter in enumerate("abcde", start=1)]}
    data = prepared(tmp_path, events, hold_out="time", validation_from="2024-05-03", test_from="2024-05-05")
    assert held_out(data, "validation") == {"ann": ("ab", "c")}
    assert held_out(data, "test") == {"ann": ("abcd", "e")}
    assert time_text(data.counts["test_from"], pl.Series([data.counts["test_from"]])) == "2024-05-05 00:00:00"


def test_the_first_items_of_the_last_sessions_are_held_out(tmp_path):
    events = {
        "three": [("a", 0), ("b", 10), ("c", 100), ("d", 101), ("e", 200), ("f", 205)],
        "two": [("a", 0), ("b", 5), ("c", 50), ("d", 51)],
        "one": [("a", 0), ("b", 10), ("c", 20)],
    }
    data = prepared(tmp_path, events, hold_out="session", session_gap=10)
    assert held_out(data, "validation") == {"three": ("ab", "c")}
    assert held_out(data, "test") == {"three": ("abcd", "e"), "two": ("ab", "c")}
    split = data.split()
    assert [named(data, items) for items in split.training("strict")] == ["ab", "ab", "abc"]
    assert [named(data, items) for items in split.training("refit")] == ["abcd", "ab", "abc"]
    assert data.settings["session_gap"] == 10


def test_a_gap_in_times_of_an_unknown_unit_is_warned_of(tmp_path):
    days = [(item, f"1985-05-{day:02}") for item, day in zip("abcde", range(1, 6), strict=True)]
    with pytest.warns(UnknownUnitWarning, match=r"from 483753600000000 to .*--session-gap 7200 counts in their unit"):
        prepared(tmp_path, {"ann": days}, hold_out="session", session_gap=7200)
    recent = [(item, day.replace("1985", "2024")) for item, day in days]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnknownUnitWarning)
        prepared(tmp_path, {"ann": recent}, hold_out="session", session_gap=7200)


def test_a_gap_of_zero_makes_a_session_of_each_time_and_dates_take_seconds(tmp_path):
    baskets = {"ann": [("a", 1), ("b", 1), ("c", 2), ("d", 2), ("e", 3), ("f", 3)]}
    data = prepared(tmp_path, baskets, hold_out="session", session_gap=0)
    assert held_out(data, "test") == {"ann": ("abcd", "e")}
    times = ["00:00:00", "00:29:00", "01:00:00", "01:29:00", "02:00:00"]  # of these only 31 minutes are a pause
    clicks = {"ann": [(item, f"2024-05-01T{time}") for item, time in zip("abcde", times, strict=True)]}
    data = prepared(tmp_path, clicks, hold_out="session")
    assert held_out(data, "validation") == {"ann": ("ab", "c")}
    assert held_out(data, "test") == {"ann": ("abcd", "e")}


@given(
    times=st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 9)), min_size=1, max_size=20),
    hold_out=st.sampled_from(["time", "session"]),
    max_length=st.integers(3, 5),
)
def test_marks_are_prefixes_and_agree_with_the_times(times, hold_out, max_length):
    settings = {"validation_from": "4", "test_from": "6"} if hold_out == "time" else {"session_gap": 1}
    filters = Filters.of(hold_out=hold_out, max_length=max_length, **settings)
    events = pl.DataFrame(times, schema=["user_id", "timestamp"], orient="row").sort("user_id", "timestamp")
    if hold_out == "time" and not 0 <= events["timestamp"].min() < 4 < 6 <= events["timestamp"].max():
        with pytest.raises(InputError, match="must be times after the first event"):
            mark_held_out(events, filters)
        return
    marked, _ = mark_held_out(events, filters)
    for _, rows in marked.group_by("user_id"):
        validation, test = rows["before_validation"].to_list(), rows["before_test"].to_list()
        for marks in (validation, test):
            assert marks == sorted(marks, reverse=True)
        assert sum(validation) <= min(sum(test), max_length)
        found = rows["timestamp"].to_list()
        if hold_out == "time":
            assert validation == [time < 4 for time in found] and test == [time < 6 for time in found]
        elif sum(test) < len(test):
            assert found[sum(test)] - found[sum(test) - 1] > 1
            assert all(later - time <= 1 for time, later in pairwise(found[sum(test) :]))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"hold_out": "week"}, "`hold_out` must be 'last', 'time' or 'session'. Received: 'week'"),
        ({"hold_out": "time", "test_from": "3"}, "`validation_from` and `test_from` go together"),
        ({"validation_from": "2", "test_from": "3"}, "Received: validation_from='2', test_from='3', hold_out='last'"),
        ({"session_gap": 5}, "`session_gap` needs hold_out='session'. Received: session_gap=5, hold_out='last'"),
        ({"hold_out": "session", "session_gap": -1}, "`session_gap` must be at least 0. Received: -1"),
        ({"hold_out": "session", "session_gap": float("nan")}, "`session_gap` must be at least 0. Received: nan"),
        (CUTS | {"test_from": "10"}, "one after the other, and not after the last event, 28. Received: 10, 10"),
        (CUTS | {"test_from": "29"}, "Received: 10, 29"),
        (CUTS | {"validation_from": "1"}, "times after the first event, 1, one"),
        (CUTS | {"test_from": "soon"}, "A time must be a number or a date such as 2024-05-31. Received: 'soon'"),
        (CUTS | {"test_from": "2024-05-31"}, "do not look like dates, so '2024-05-31' cannot be compared"),
        ({"hold_out": "session", "session_gap": 100}, "No user has a validation item with an event before it"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, problem):
    with pytest.raises(InputError) as error:
        prepared(tmp_path, **settings)
    assert problem in str(error.value)
    assert not (tmp_path / "data").exists()


def test_events_without_times_are_refused(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id\n" + "ann,tent\n" * 9)
    with pytest.raises(InputError, match="`hold_out`='session' needs times, but the events have none"):
        prepare(tmp_path / "events.csv", tmp_path / "data", hold_out="session", reading=Reading(time=False))


def test_counts_of_users_without_a_test_item_are_refused():
    histories = pl.DataFrame({"item_ids": [[1, 2, 3]], "before_validation": [1], "before_test": [3]})
    with pytest.raises(InputError, match="No user has a test item"):
        held_out_counts(histories)


def test_data_of_other_held_out_items_has_a_version_that_older_programs_refuse(tmp_path):
    about = json.loads((prepared(tmp_path, **CUTS).folder / "dataset.json").read_text())
    assert about["format_version"] == 2 and about["settings"]["hold_out"] == "time"
    about = json.loads((prepared(tmp_path).folder / "dataset.json").read_text())
    assert about["format_version"] == 1 and "hold_out" not in about["settings"]


def test_parts_of_the_data_hold_out_the_same(tmp_path):
    data = prepared(tmp_path, **CUTS)
    whole = dict(zip(data.split().users, data.split().before.tolist(), strict=True))
    for parts in (2, 6):
        split = [data.split(part, parts) for part in range(parts)]
        assert {
            user: before for each in split for user, before in zip(each.users, each.before.tolist(), strict=True)
        } == whole
        assert sum(len(each.users) for each in split) == len(whole)


def test_a_run_is_validated_and_tested_on_the_items_held_out_by_time(tmp_path):
    # Items follow each other in a ring, from the test time on in the other direction.
    events = {
        f"u{user}": [(f"i{(user + (time if time < 12 else -time)) % 9}", 10 * time + user % 3) for time in range(15)]
        for user in range(12)
    }
    data = prepared(tmp_path, events, hold_out="time", validation_from="100", test_from="120", exclude_history=False)
    run = train(data.folder, tmp_path / "run", {"preset": "bigram", "discount": 0}, show_progress=False)
    assert run.record["validation"]["recall@10"] == 1 and run.record["validation"]["mrr@10"] == 1
    report, users = evaluate_users(run.folder, show_progress=False)
    assert (report["users"], report["hold_out"]) == (12, "time")
    assert dict(users.select("user_id", "item_id").rows()) == {f"u{user}": f"i{(user - 12) % 9}" for user in range(12)}
    assert report["mrr@10"] < 1
    with pytest.raises(InputError, match="holds out items by time, but `histories` would be asked for their last"):
        evaluate_users(run.folder, histories=tmp_path / "events.csv", show_progress=False)
    card = model_card("shop", {"metadata": run.record, "signatures": [], "n_items": 9, "n_retired": 0, "max_length": 5}
                      | {"tensorflow": "2"}, ModelMetrics(trained_on="strict"))  # fmt: skip
    assert "each history without its items from a time on, which are held out" in card
    expected = np.bincount(np.concatenate(data.split().training()), minlength=10)[1:]
    np.testing.assert_array_equal(np.load(run.folder / "popularity.npy"), expected)


def test_ids_follow_the_numbers_of_training_events(tmp_path):
    # b is bought most often after the validation time, a before it.
    events = {f"u{user}": [("a", 1), ("c", 2), ("b", 10), ("b", 11), ("b", 20)] for user in range(3)}
    events["u0"] = [("a", 0), *events["u0"]]
    data = prepared(tmp_path, events, **CUTS, duplicates="keep")
    assert list(data.vocabulary.items) == ["a", "c", "b"]


def test_too_few_times_for_two_tenths_are_named(tmp_path):
    with pytest.raises(InputError, match="share too few times .* Give --validation-from and --test-from, from 1 to 2"):
        prepared(tmp_path, {"ann": [(item, 1 + (item > "b")) for item in "abcdefgh"]}, hold_out="time")


def test_users_are_set_aside_of_those_with_a_validation_item(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "MIN_SET_ASIDE", 2)
    monkeypatch.setattr(splits, "MIN_SET_ASIDE", 2)
    events = {f"u{user}": [(f"i{(user + time) % 7}", time) for time in range(9)] for user in range(160)}
    # Of 160 users 40 have events from the validation time on.
    events = {user: of_user if int(user[1:]) < 40 else of_user[:6] for user, of_user in events.items()}
    data = prepared(tmp_path, events, hold_out="time", validation_from="6", test_from="8")
    settings = {"preset": "sasrec", "width": 4, "epochs": 1, "n_recommender_blocks": 0, "calibration_share": 0.05}
    run = train(data.folder, tmp_path / "run", settings, show_progress=False)
    share = splits.set_aside_share(40, data.counts["events"], 0.05)
    assert run.record["edits"]["users"] == int(data.split().is_set_aside(share).sum()) >= 10
