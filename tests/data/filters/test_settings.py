"""What is said about the events that each filter drops."""

from __future__ import annotations

from pathlib import Path

import pytest

from laclrec_tf.data.filters.settings import DroppedEventsWarning, Filters, dropped_by_filter
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData


def prepared(folder: Path, rows: str, **settings: object) -> PreparedData:
    """Prepare rows such as `ax1`: user, item, time."""
    (folder / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(map(",".join, rows.split())))
    return prepare(folder / "events.csv", folder / "data", show_progress=False, overwrite=True, **settings)


def test_each_filter_says_what_it_dropped(tmp_path, recwarn):
    rows = "ax1 ax1 ay2 ax3 ay4 bx1 by2 bz3 bx3 cx1"  # one repeat, one event of the rare z, one of the rare c
    data = prepared(tmp_path, rows, min_user_events=2, min_item_events=2, max_length=3, window="last")
    found = [
        (each.events, each.users, each.items, each.option) for each in dropped_by_filter(data.counts, data.settings)
    ]
    assert found == [
        (1, None, None, "--duplicates drop"),
        (1, None, 1, "--min-interactions 2"),
        (1, 1, None, "--min-interactions 2"),
        (1, None, 0, "--max-length 3"),
    ]
    assert [str(each.message) for each in recwarn if issubclass(each.category, UserWarning)] == []
    assert {"rows_read": 10, "events": 6, "users": 2, "items": 2}.items() <= data.counts.items()
    data = prepared(tmp_path, rows, min_user_events=0, min_item_events=2, max_length=3)
    assert [each.option for each in dropped_by_filter(data.counts, data.settings)][1:3] == [
        "--min-item-events 2",
        "--min-user-events 0",
    ]


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        (
            "ax1 ax1 ax1 ay2 bx1 bx1 by2 by3 cx1 cy1",
            {},
            "--duplicates drop drops 3 of 10 events (30.0%): same user,",
        ),
        ("ax1 ay2 bx1 by2 cx1 cy2 cz3 cv4 cw5 bu3", {"min_item_events": 2}, "--min-item-events 2 drops 4 of 10 events"),
        ("ax1 ay2 az3 ax4 bx1 bz2 by3 cx1 dx1 ey1", {"min_user_events": 2}, "--min-user-events 2 drops 3 of 10 events"),
        (
            "ax1 ay2 az3 ax4 ay5 az6 bx1 bz2 by3 cx1",
            {"window": "last"},
            "--max-length 3 drops 3 of 10 events (30.0%): older than a us",
        ),
    ],
)
def test_a_filter_that_drops_more_than_a_fifth_is_warned_of(tmp_path, rows, settings, says):
    limits = {"min_user_events": 0, "min_item_events": 0, "max_length": 3, **settings}
    with pytest.warns(DroppedEventsWarning) as caught:
        prepared(tmp_path, rows, **limits)
    (message,) = (str(each.message) for each in caught)
    assert message.startswith(says)
    remedies = {
        "--duplicates": "give --duplicates keep.",
        "--max-length": "raise --max-length or give --window sliding.",
    }
    option = says.split()[0]
    assert message.endswith(f"To keep more, {remedies.get(option, f'lower {option}.')}")


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([50, 50, 50, 900], 50),
        ([50, 50, 51, 51], 100),
        ([9, 100, 100, 101], 100),
        ([9, 9, 101, 900], 200),
        ([900], 200),
    ],
)
def test_max_length_is_enough_for_three_quarters_of_the_users(tmp_path, lengths, expected):
    rows = [f"u{user},i{time},{time}" for user, length in enumerate(lengths) for time in range(length)]
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
    settings = {"min_interactions": 0, "window": "last", "show_progress": False}
    data = prepare(tmp_path / "events.csv", tmp_path / "data", **settings)
    assert data.max_length == expected
    assert max(map(len, data.histories()[1])) == min(max(lengths), expected)
    told = prepare(tmp_path / "events.csv", tmp_path / "told", max_length=expected, **settings)
    assert (told.data_hash, told.settings) == (data.data_hash, data.settings)
    assert Filters.of(max_length=7).for_users([0.1], [1.0]).max_length == 7


@pytest.mark.parametrize(("n_events", "expected"), [(60, "last"), (61, "sliding")])
def test_the_window_is_sliding_where_more_than_a_fifth_of_the_events_is_older(tmp_path, n_events, expected):
    # 12 of 60 events are older than the last 48, and 13 of 61.
    rows = [f"a,i{time},{time}" for time in range(n_events)]
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
    data = prepare(tmp_path / "events.csv", tmp_path / "data", min_interactions=0, max_length=48, show_progress=False)
    assert data.window == data.settings.get("window", "last") == expected
    assert len(data.histories()[1][0]) == (48 if expected == "last" else n_events)
    assert Filters.of(max_length=48, window="last").for_users([0.0], [0.5]).window == "last"
