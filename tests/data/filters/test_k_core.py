"""Tests of the k-core."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.filters.k_core import k_core
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
