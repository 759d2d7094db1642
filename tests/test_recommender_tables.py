"""Histories from tables, and answers to tables."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.recommender_tables import HistoryTable, edit_columns, history_columns, ranked_columns
from laclrec_tf.serving.client.answers import AugmentedHistory, Recommendation, SimilarItems

KINDS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
EVENTS = {
    "user_id": [7, 3, 7, 7, 3],
    "item_id": ["rope", "mug", "tent", "rope", "lamp"],
    "timestamp": [2, 9, 1, 2, 9],
}


def test_ranked_lists():
    answers = [Recommendation(("tent", "mug"), (2.5, -1.0)), Recommendation((), ()), Recommendation(("mug",), (0.5,))]
    assert ranked_columns(answers, "item_id") == {
        "rank": (int, [1, 2, 1]),
        "item_id": (str, ["tent", "mug", "mug"]),
        "score": (float, [2.5, -1.0, 0.5]),
    }
    similar = [SimilarItems("tent", ("mug",), (0.75,), known=True)]
    assert list(ranked_columns(similar, "similar_item_id")) == ["rank", "similar_item_id", "score"]
    assert ranked_columns(similar, "similar_item_id")["similar_item_id"] == (str, ["mug"])


def test_edits():
    edits = AugmentedHistory(
        history=("tent", "mug"),
        operations=("insert", "delete"),
        probabilities=((0.25, 0.125, 0.625), (0.25, 0.5, 0.25)),
        inserted=(("rope", "lamp"), ()),
        edited_history=("rope", "lamp", "tent"),
    )
    assert edit_columns([edits, edits]) == {
        "position": (int, [1, 2, 1, 2]),
        "item_id": (str, ["tent", "mug"] * 2),
        "operation": (str, ["insert", "delete"] * 2),
        "keep": (float, [0.25, 0.25] * 2),
        "delete": (float, [0.125, 0.5] * 2),
        "insert": (float, [0.625, 0.25] * 2),
        "inserted": (int, [2, 0] * 2),
    }


def test_histories():
    assert history_columns([["tent", "mug"], [], ("lamp",)]) == {
        "position": (int, [1, 2, 1]),
        "item_id": (str, ["tent", "mug", "lamp"]),
    }
    assert history_columns([]) == {"position": (int, []), "item_id": (str, [])}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


def columns_of(table) -> dict[str, list]:
    if isinstance(table, pd.DataFrame):
        return table.to_dict(orient="list")
    return table.to_pydict() if isinstance(table, pa.Table) else table.to_dict(as_series=False)


def complaint(table, **columns) -> str:
    with pytest.raises(InputError) as raised:
        HistoryTable.read(table, **columns)
    return str(raised.value)


def test_events_are_ordered_by_time_and_duplicates_dropped(make):
    read = HistoryTable.read(make(EVENTS))
    # The second (7, rope, 2) is a duplicate; mug and lamp at the same time keep the order of the rows.
    assert read.histories == (("tent", "rope"), ("mug", "lamp"))
    assert columns_of(read.owners.to_native()) == {"user_id": [7, 3]}


def test_rows_may_already_be_in_order(make):
    read = HistoryTable.read(make(EVENTS), time_column=None)
    assert read.histories == (("rope", "tent", "rope"), ("mug", "lamp"))
    without = {name: EVENTS[name] for name in ("user_id", "item_id")}
    assert HistoryTable.read(make(without), time_column=None).histories == read.histories
    assert "no column 'timestamp'" in complaint(make(without))
    for blank in (None, " ", ""):
        for times in (None, "timestamp"):
            message = complaint(make(EVENTS | {"item_id": ["a", blank, *"bcd"]}), time_column=times)
            assert message == "The table, row 2: the item_id is empty. Fill it in or remove the row."
    for given, problem in (("a\nb", "a line break"), ("a\0", "a NUL character")):
        assert problem in complaint(make(EVENTS | {"item_id": [given, *"bcde"]}), time_column=None)


def test_one_row_for_each_history(make):
    read = HistoryTable.read(make({"user_id": ["a", "b"], "history": [["x", "y"], []]}))
    assert read.histories == (("x", "y"), ())
    assert columns_of(read.owners.to_native()) == {"user_id": ["a", "b"]}
    read = HistoryTable.read(make({"past": [[1, 2], [3]]}), history_column="past")
    assert read.histories == (("1", "2"), ("3",))
    assert columns_of(read.owners.to_native()) == {"row": [0, 1]}


def test_a_history_must_be_a_list(make):
    expected = "The table, row 2: the history must be a list of item ids, which are text or integers."
    assert complaint(make({"history": [["x"], None]})).startswith(expected)
    assert complaint(make({"history": [["x"], [None]]})).startswith(expected)
    assert complaint(make({"history": ["x,y"]})).startswith("The table, row 1: the history must be a list")


def test_answers_repeat_the_user_with_its_own_type(make):
    read = HistoryTable.read(make(EVENTS))
    answer = read.answer([2, 1], {"item_id": (str, ["a", "b", "c"]), "score": (float, [1.5, 0.5, 2.0])})
    assert type(answer) is type(make(EVENTS))
    assert columns_of(answer) == {"user_id": [7, 7, 3], "item_id": ["a", "b", "c"], "score": [1.5, 0.5, 2.0]}
    if isinstance(answer, pd.DataFrame):
        assert answer.index.tolist() == [0, 1, 2]


def test_an_empty_table_gives_an_empty_answer(make):
    empty = make({name: values[:0] for name, values in EVENTS.items()})
    answer = HistoryTable.read(empty).answer([], {"item_id": (str, [])})
    assert columns_of(answer) == {"user_id": [], "item_id": []}


@pytest.mark.parametrize("name", ["rank", "item_id"])
def test_an_answer_replaces_no_column_of_the_table(name):
    events = pl.DataFrame({name: ["u"], "item": ["tent"], "timestamp": [1]})
    queries = HistoryTable.read(events, user_column=name, item_column="item")
    with pytest.raises(InputError, match=f"a column '{name}', and the table has one of the same name. Rename"):
        queries.answer([1], {"rank": (int, [1]), "item_id": (str, ["stove"])})
