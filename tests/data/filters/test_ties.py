"""Events that share a time: counted, warned of if they are sorted by item, and shuffled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.filters.ties import SortedTiesWarning, shuffled_places, tie_counts, tied_share, tied_steps
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData

# Ten rows: two baskets of five items each, which ascend as numbers.
SORTED = ["a,8,1", "a,9,1", "a,10,1", "a,11,1", "a,100,1", "b,1,1", "b,2,1", "b,3,1", "b,10,1", "b,20,1"]


def prepared(folder: Path, rows: str, **settings: object) -> PreparedData:
    (folder / "events.csv").write_text("user_id,item_id,timestamp\n" + rows.replace(" ", "\n") + "\n")
    settings = {"min_interactions": 0, "overwrite": True, "show_progress": False, **settings}
    return prepare(folder / "events.csv", folder / "data", **settings)


def warned(caught: pytest.WarningsRecorder) -> list[str]:
    return [str(each.message) for each in caught if each.category is SortedTiesWarning]


def test_ties_are_counted(tmp_path):
    data = prepared(tmp_path, "a,9,1 b,1,1 a,10,1 a,8,1 a,8,2 b,x,2 b,10,2 b,y,2 c,5,2 c,5,3")
    # a has 9, 10, 8 at one time; b has x, 10, y at one time: text, as not both are integers.
    assert (data.counts["tied_events"], data.counts["tied_ascending"], data.counts["tied_descending"]) == (4, 2, 2)
    assert tied_share(data.counts) == 0.4


def test_sorted_ties_are_warned_of(tmp_path, recwarn):
    prepared(tmp_path, " ".join(SORTED))
    prepared(tmp_path, " ".join(SORTED[::-1]))
    assert warned(recwarn) == [
        "80.0% of the events have the same time as the user's event before, and the item ids of 100.0% of them are "
        f"{order}: a model learns that order. Give a finer time column, or --ties shuffle."
        for order in ("ascending", "descending")
    ]


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (SORTED[:9], {}),  # too few to tell
        ([SORTED[1], SORTED[0], *SORTED[2:]], {}),  # seven of eight ascend
        (SORTED, {"ties": "shuffle"}),
        ([f"{row}{number}" for number, row in enumerate(SORTED)], {}),  # times differ
        ([*SORTED, *(f"c,7,{time}" for time in range(800))], {}),  # too few to matter
    ],
)
def test_other_ties_are_not_warned_of(tmp_path, recwarn, rows, settings):
    prepared(tmp_path, " ".join(rows), duplicates="keep", **settings)
    assert warned(recwarn) == []


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["9", "10", "-1", "x", "07", "7"]), st.integers(0, 2)))
)
def test_both_engines_count_the_same(rows):
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("user_id", "item_id", "timestamp"))}
    ids = {name: pl.Enum(sorted(set(columns[name]))) for name in ("user_id", "item_id")}
    table = pl.DataFrame(columns, schema={**ids, "timestamp": pl.Int64}).sort(
        "user_id", "timestamp", maintain_order=True
    )
    groups = table.group_by("user_id", "timestamp", maintain_order=True).agg("item_id")["item_id"].to_list()
    expected = np.array([tied_steps(items) for items in groups], int).reshape(-1, 3).sum(axis=0)
    assert list(tie_counts(table).values()) == expected.tolist()


def test_ties_are_shuffled_by_the_seed(tmp_path):
    rows = " ".join(f"a,{item},{item // 50}" for item in range(100))
    found = []
    for settings in ({}, {"ties": "shuffle"}, {"ties": "shuffle", "seed": 0}, {"ties": "shuffle", "seed": 1}):
        data = prepared(tmp_path, rows, max_length=100, **settings)
        items = [int(item) for item in data.vocabulary.to_items(data.histories()[1][0].tolist())]
        assert sorted(items[:50]) == list(range(50))  # times keep their order
        assert data.counts["tied_ascending"] == 98  # counted before the shuffle
        found.append((items, data.data_hash, data.settings.get("ties"), data.settings.get("seed")))
    (as_it_is, *unshuffled), first, again, (other, *_) = found
    assert as_it_is == list(range(100)) and unshuffled[1:] == [None, None]
    assert first == again and first[2:] == ("shuffle", 0)
    assert len({tuple(items) for items in (as_it_is, first[0], other)}) == len({each[1] for each in found}) == 3


@given(st.integers(0, 2**70), st.integers(1, 300))
def test_no_two_events_have_the_same_key(seed, n_events):
    keys = shuffled_places(np.arange(n_events), seed)
    assert len(set(keys.tolist())) == n_events
    assert shuffled_places(np.array([n_events - 1]), seed)[0] == keys[-1]
