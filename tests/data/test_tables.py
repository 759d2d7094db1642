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
    assert complaint(pd.DataFrame(EVENTS | {"item_id": [7, None]})).startswith(
        "The table, row 2: the item_id is empty, so its column holds ids of type Float64, such as 7.0 for 7. Fill it in"
    )
    for name in ("user_id", "timestamp"):
        half = pd.DataFrame(EVENTS | {name: pd.Series(["2024-05-31", "\ud83d"], dtype=object)})
        assert complaint(half) == (
            f"The table, row 2: the {name} '\\ud83d' has half a surrogate pair, which is no character. Correct the row."
        )
    huge = pd.DataFrame(EVENTS | {"user_id": pd.Series([1, 2**200], dtype=object)})
    assert "or integers of more than 64 bits. Write all as text" in complaint(huge)
    categorical = pd.DataFrame(EVENTS | {"user_id": pd.Categorical(["b", "a"])}, index=[5, 5])
    assert table_interactions(categorical)["user_id"].to_list() == ["b", "a"]


def test_pandas_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert table_columns(pd.DataFrame(EVENTS), {"item_column": "item_id"}).rows() == [(7,), (8,)]


DAY = datetime.datetime(2024, 5, 31, 12, 0, 0, 123000)
TIMES = [DAY, None, DAY.replace(day=1)]
DTYPES = {
    "pandas datetime64[ns]": lambda: pd.Series(TIMES).astype("datetime64[ns]"),
    "pandas datetime64[us]": lambda: pd.Series(TIMES).astype("datetime64[us]"),
    "pandas datetime64[s]": lambda: pd.Series(TIMES).dt.floor("s").astype("datetime64[s]"),
    "pandas with a zone": lambda: pd.Series(TIMES).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
    "pandas Arrow": lambda: pd.Series(TIMES).astype("timestamp[us][pyarrow]"),
    "pandas objects": lambda: pd.Series(TIMES, dtype=object),
    "polars": lambda: pl.Series(TIMES),
    "polars with a zone": lambda: pl.Series(TIMES).dt.replace_time_zone("UTC"),
    "pyarrow": lambda: pa.array(TIMES, pa.timestamp("ns")),
    "pandas Int64": lambda: pd.Series([2, None, 1], dtype="Int64"),
    "pandas float64": lambda: pd.Series([2, None, 1]),
    "pandas Arrow int64": lambda: pd.Series([2, None, 1], dtype="int64[pyarrow]"),
    "pandas text": lambda: pd.Series(["2", None, "1"]),
    "pandas string": lambda: pd.Series(["2", None, "1"], dtype="string"),
    "polars Int64": lambda: pl.Series([2, None, 1]),
    "pyarrow int64": lambda: pa.array([2, None, 1]),
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_missing_value_is_null_in_every_dtype(dtype):
    column = DTYPES[dtype]()
    make = pa.table if isinstance(column, pa.Array) else type(column).__module__.startswith("polars") and pl.DataFrame
    table = (make or pd.DataFrame)({"time": column})
    found = table_columns(table, {"time_column": "time"})["time"]
    assert found.is_null().to_list() == [False, True, False]
    assert found[0] > found[2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_event_without_a_time_is_named_in_every_dtype(dtype):
    column = DTYPES[dtype]()
    rows = {"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"], "timestamp": column}
    make = pa.table if isinstance(column, pa.Array) else type(column).__module__.startswith("polars") and pl.DataFrame
    with pytest.raises(InputError, match="The table, row 2: the timestamp"):
        table_interactions((make or pd.DataFrame)(rows))
