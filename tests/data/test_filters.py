"""Tests of the k-core, and of what is said about the events that each filter drops."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.filters import DroppedEventsWarning, dropped_by_filter, k_core
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError

EVENTS = st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("uvwxyz")), min_size=1, max_size=60)


def table(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    columns = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_row_index("row")


def reference(pairs: list[tuple[str, str]], bound: int, of_items: int | None = None) -> list[tuple[str, str]]:
    """Remove one event at a time, as the definition says."""
    pairs = list(pairs)
    while True:
        for index, (user, item) in enumerate(pairs):
            users, items = zip(*pairs, strict=True)
            if users.count(user) < bound or items.count(item) < (bound if of_items is None else of_items):
                del pairs[index]
                break
        else:
            return pairs


def test_removal_goes_on_until_nothing_changes():
    # z has one event; without it c has one; without c y has one; without y b has one. a's x and w remain.
    pairs = [("a", "x"), ("a", "w"), ("d", "x"), ("d", "w"), ("b", "x"), ("b", "y"), ("c", "y"), ("c", "z")]
    assert k_core(table(pairs), 2)["row"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize("bound", [0, 1])
def test_low_bounds_keep_everything(bound):
    pairs = [("a", "x"), ("b", "y")]
    assert k_core(table(pairs), bound).height == 2


def test_nothing_left_says_what_there_was():
    pairs = [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")]
    with pytest.raises(InputError) as raised:
        k_core(table(pairs), 4)
    assert str(raised.value) == (
        "No events are left: no users and items have at least 4 events each. Received: 2 users with at most 3 events "
        "each and 3 items with at most 2 events each. Lower --min-interactions."
    )


def test_no_events_at_all():
    with pytest.raises(InputError, match="0 users with at most 0 events each"):
        k_core(table([]), 1)


@given(EVENTS, st.integers(0, 4))
def test_it_is_the_largest_fixpoint_in_order(pairs, bound):
    expected = reference(pairs, bound)
    if not expected:
        with pytest.raises(InputError):
            k_core(table(pairs), bound)
        return
    core = k_core(table(pairs), bound)
    assert core.select("user_id", "item_id").rows() == expected
    assert core["row"].is_sorted()
    assert k_core(core, bound).equals(core)


@given(EVENTS, st.integers(0, 4), st.integers(0, 4))
def test_users_and_items_have_limits_of_their_own(pairs, of_users, of_items):
    expected = reference(pairs, of_users, of_items)
    if expected:
        assert k_core(table(pairs), of_users, of_items).select("user_id", "item_id").rows() == expected


@given(EVENTS)
def test_enum_columns_give_the_same(pairs):
    events = table(pairs)
    enums = events.with_columns(
        pl.col("user_id").cast(pl.Enum(list("gfedcba"))), pl.col("item_id").cast(pl.Enum(list("zyxwvu")))
    )
    if reference(pairs, 2):
        assert k_core(enums, 2)["row"].to_list() == k_core(events, 2)["row"].to_list()


def prepared(folder: Path, rows: str, **settings: object) -> PreparedData:
    """Prepare rows such as `ax1`: user, item, time."""
    (folder / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(map(",".join, rows.split())))
    return prepare(folder / "events.csv", folder / "data", show_progress=False, overwrite=True, **settings)


def test_each_filter_says_what_it_dropped(tmp_path, recwarn):
    rows = "ax1 ax1 ay2 ax3 ay4 bx1 by2 bz3 bx3 cx1"  # one repeat, one event of the rare z, one of the rare c
    data = prepared(tmp_path, rows, min_user_events=2, min_item_events=2, max_length=3)
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
        ("ax1 ay2 az3 ax4 ay5 az6 bx1 bz2 by3 cx1", {}, "--max-length 3 drops 3 of 10 events (30.0%): older than a us"),
    ],
)
def test_a_filter_that_drops_more_than_a_fifth_is_warned_of(tmp_path, rows, settings, says):
    limits = {"min_user_events": 0, "min_item_events": 0, "max_length": 3, **settings}
    with pytest.warns(DroppedEventsWarning) as caught:
        prepared(tmp_path, rows, **limits)
    (message,) = (str(each.message) for each in caught)
    assert message.startswith(says)
    remedies = {"--duplicates": "give --duplicates keep.", "--max-length": "raise --max-length."}
    option = says.split()[0]
    assert message.endswith(f"To keep more, {remedies.get(option, f'lower {option}.')}")
