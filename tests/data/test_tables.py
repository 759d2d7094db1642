"""Tables of three libraries, read the same way."""

from __future__ import annotations

import datetime
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from laclrec_tf.data.events import table_interactions
from laclrec_tf.data.tables import is_table, table_columns
from laclrec_tf.errors import InputError

KINDS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
EVENTS = {"user_id": ["b", "a"], "item_id": [7, 8], "timestamp": ["2024-05-31T00:00:01", "2024-05-31"]}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


def complaint(table, **columns: str) -> str:
    with pytest.raises(InputError) as raised:
        table_interactions(table, **columns)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


def test_a_table_is_told_from_what_is_none(make):
    assert is_table(make(EVENTS))
    assert not any(map(is_table, ("events.csv", ["a"], EVENTS, None, pl.LazyFrame(EVENTS), pl.Series([1]))))


def test_events_of_a_table(make):
    events = table_interactions(make(EVENTS))
    # Microseconds since 1970: 2024-05-31 is day 19,874.
    assert events.rows() == [("b", "7", 19_874 * 86_400_000_000 + 1_000_000), ("a", "8", 19_874 * 86_400_000_000)]
    renamed = make({"who": ["b"], "what": ["x"], "at": [1.5]})
    assert table_interactions(renamed, user_column="who", item_column="what", time_column="at").rows() == [
        ("b", "x", 1.5)
    ]


def test_points_in_time_are_utc_and_keep_nanoseconds():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    noon = [datetime.datetime(2024, 5, 31, 12, tzinfo=zone)]
    for make in KINDS.values():
        events = table_interactions(make({"user_id": ["a"], "item_id": ["x"], "timestamp": noon}))
        assert events["timestamp"].to_list() == [(19_874 * 24 + 10) * 3_600_000_000]
    times = pd.to_datetime(["2024-05-31T00:00:00.000000001", "2024-05-31T00:00:00.000000000"])
    table = pd.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": times})
    assert table_interactions(table)["timestamp"].to_list() == [19_874 * 86_400 * 10**9 + 1, 19_874 * 86_400 * 10**9]


def test_what_a_table_may_not_hold(make):
    assert complaint(make(EVENTS | {"user_id": ["b", None]})) == (
        "The table, row 2: the user_id is empty. Fill it in or remove the row."
    )
    assert complaint(make(EVENTS | {"timestamp": ["1", "soon"]})).startswith("The table, row 2: the timestamp 'soon'")
    assert "holds ids of type Float64" in complaint(make(EVENTS | {"item_id": [1.5, 2.0]}))
    assert "no column 'item'. Did you mean item_column='item_id'?" in complaint(make(EVENTS), item_column="item")
    assert complaint(make({name: values[:0] for name, values in EVENTS.items()})) == (
        "The table contains no rows. It must contain at least one."
    )


def test_oddities_of_pandas():
    twice = pd.DataFrame([["a", "x", "y", 1]], columns=["user_id", "item_id", "item_id", "timestamp"])
    assert complaint(twice).startswith("The table has 2 columns 'item_id'.")
    mixed = pd.DataFrame(EVENTS | {"item_id": ["x", 7]})
    assert "'item_id' has values of different types" in complaint(mixed)
    # A missing number turns pandas' integers into floats, 7 into 7.0: no id to guess at.
    assert "Float64" in complaint(pd.DataFrame(EVENTS | {"item_id": [7, None]}))
    categorical = pd.DataFrame(EVENTS | {"user_id": pd.Categorical(["b", "a"])}, index=[5, 5])
    assert table_interactions(categorical)["user_id"].to_list() == ["b", "a"]


def test_pandas_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert table_columns(pd.DataFrame(EVENTS), {"item_column": "item_id"}).rows() == [(7,), (8,)]
