"""Tests of reading events from several files and refusing bad rows."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import polars as pl
import pytest

from laclrec_tf.data.events import RepeatedFileWarning, read_interactions, warn_of_repeated_files
from laclrec_tf.errors import InputError

HEADER = "user_id,item_id,timestamp\n"


def csv_file(tmp_path: Path, rows: str, name: str = "events.csv") -> Path:
    file = tmp_path / name
    file.write_text(HEADER + rows, encoding="utf-8", newline="")
    return file


def complaint(files: Path | list[Path], **arguments: str) -> str:
    with pytest.raises(InputError) as raised:
        read_interactions(files, **arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


def test_ids_stay_the_strings_they_are(tmp_path):
    file = csv_file(tmp_path, "007,0x1F,1\n7,1e5,2\n true,NaN,3\nnull,3.0,4\n")
    events = read_interactions(file)
    assert events.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    assert events["user_id"].to_list() == ["007", "7", " true", "null"]
    assert events["item_id"].to_list() == ["0x1F", "1e5", "NaN", "3.0"]


def test_formats_mix_and_the_order_of_files_and_rows_stays(tmp_path):
    first = csv_file(tmp_path, "b,x,2\na,y,2\n")
    second, third, fourth = (tmp_path / f"events.{ending}" for ending in ("tsv.gz", "parquet", "jsonl"))
    second.write_bytes(gzip.compress(b"item_id\tuser_id\ttimestamp\n007\tc\t1\n"))
    pl.DataFrame({"user_id": [2**60], "item_id": ["z"], "timestamp": [1.0]}).write_parquet(third)
    fourth.write_text('{"user_id": "d", "item_id": 5, "timestamp": 3}\n', encoding="utf-8")
    seen: list[tuple[str, int]] = []
    files = [first, second, third, fourth]
    events = read_interactions(files, on_file=lambda file, found: seen.append((file.name, found.rows)))
    assert events.rows() == [
        ("b", "x", 2),
        ("a", "y", 2),
        ("c", "007", 1),
        (str(2**60), "z", 1),
        ("d", "5", 3),
    ]
    assert seen == [("events.csv", 2), ("events.tsv.gz", 1), ("events.parquet", 1), ("events.jsonl", 1)]


def test_columns_are_chosen_by_name(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("when,what,who\n2024-05-31,tent,ann\n", encoding="utf-8")
    events = read_interactions(str(file), user_column="who", item_column="what", time_column="when")
    assert events.rows() == [("ann", "tent", 1_717_113_600_000_000)]


def test_categories_of_parquet_are_ids(tmp_path):
    table = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [1]})
    table = table.with_columns(pl.col("user_id").cast(pl.Categorical), pl.col("item_id").cast(pl.Enum(["x"])))
    table.write_parquet(tmp_path / "events.parquet")
    assert read_interactions(tmp_path / "events.parquet").rows() == [("a", "x", 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x,1\n,y,2\n", "row 2 (line 3): the user_id is empty. Fill it in or remove the row."),
        ('a,x,1\n"",y,2\n', "row 2 (line 3): the user_id is empty."),
        ("a,,1\n,y,2\n", "row 1 (line 2): the item_id is empty."),
        ("a,x,1\n   ,y,2\n", "row 2 (line 3): the user_id is empty. Fill it in or remove the row."),
        ("a, ,1\nb,y,2\n", "row 1 (line 2): the item_id is empty."),
        ("a,x,1\nb,\u00a0\u3000,2\n", "row 2 (line 3): the item_id is empty."),
        ("a,x,1\nb,y,\n", "row 2 (line 3): the timestamp is empty."),
        ("a,x,1\nb,y\n", "row 2 (line 3): the timestamp is empty."),
        ("a,x,1\nb,y,soon\nc,z,later\n", "row 2 (line 3): the timestamp 'soon' is not a timestamp. Write"),
        ("a,x,2024-05-31\nb,y,31.05.2024\n", "row 2 (line 3): the timestamp '31.05.2024' is not a timestamp."),
        ("a,x,1\nb,y,2024-05-31\n", "the timestamp '2024-05-31' is not a timestamp. Write all timestamps as numbers"),
        ('a,x,1\nb,"y\nz",2\n', r"row 2 (line 3): the item_id 'y\nz' contains a line break. Remove it."),
        ("a,x,1\n\nb,y\u2028z,2\n", r"row 3 (line 4): the item_id 'y\u2028z' contains a line break."),
        (
            "a,x,1\n" + "c,z,3\n" * 300 + "b,y\0,2\n",
            r"row 302 (line 303): the item_id 'y\x00' contains a NUL character.",
        ),
        (
            "a,x,1\n" + "c,z,3\n" * 300 + "b\0,y,2\n",
            r"row 302 (line 303): the user_id 'b\x00' contains a NUL character.",
        ),
        (f"a,x,{'9' * 99}e\n", f"the timestamp '{'9' * 60}...' is not a timestamp."),
    ],
)
def test_the_first_bad_row_is_named_with_the_remedy(tmp_path, rows, message):
    file = csv_file(tmp_path, rows)
    assert f"{file}, " in complaint(file)
    assert message in complaint(file)


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("escape", ["\\u0000", "a\\u0000b"])
def test_an_id_of_a_nul_in_json_is_refused(tmp_path, column, escape):
    rows = [{"user_id": '"u"', "item_id": '"i"', "timestamp": "1"} for _ in range(2)]
    rows[1][column] = f'"{escape}"'
    file = tmp_path / "events.jsonl"
    file.write_text("".join("{" + ",".join(f'"{key}":{value}' for key, value in row.items()) + "}\n" for row in rows))
    message = complaint(file)
    assert "row 2 (line 2): the " + column in message and r"\x00" in message and "a NUL character" in message


def test_line_breaks_in_user_ids_are_harmless(tmp_path):
    assert read_interactions(csv_file(tmp_path, '"a\nb",x,1\n')).rows() == [("a\nb", "x", 1)]


def test_bad_rows_of_parquet_have_no_line(tmp_path):
    table = pl.DataFrame({"user_id": ["a", None], "item_id": ["x", "y"], "timestamp": [1, 2]})
    table.write_parquet(tmp_path / "events.parquet")
    assert "events.parquet, row 2: the user_id is empty" in complaint(tmp_path / "events.parquet")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"user_id": [1.0], "item_id": ["x"], "timestamp": [1]}, "'user_id' holds ids of type Float64"),
        ({"user_id": ["a"], "item_id": [[1]], "timestamp": [1]}, "'item_id' holds ids of type List"),
        ({"user_id": ["a"], "item_id": ["x"], "timestamp": [True]}, "'timestamp': Timestamps must be"),
    ],
)
def test_types_that_are_no_ids_or_times(tmp_path, table, message):
    pl.DataFrame(table).write_parquet(tmp_path / "events.parquet")
    assert message in complaint(tmp_path / "events.parquet")


def test_the_bad_file_of_several_is_named(tmp_path):
    good, bad = csv_file(tmp_path, "a,x,1\n"), csv_file(tmp_path, "a,x,never\n", "bad.csv")
    assert "bad.csv, row 1 (line 2)" in complaint([good, bad])
    dates = csv_file(tmp_path, "a,x,2024-05-31\n", "dates.csv")
    message = complaint([good, dates])
    assert f"numbers in {good} and dates in {dates}" in message


def test_arguments_are_checked(tmp_path):
    assert "`files` must name at least one file" in complaint([])
    assert "must differ. Received: 'user_id', 'user_id', 'timestamp'" in complaint(
        csv_file(tmp_path, "a,x,1\n"), item_column="user_id"
    )
    assert "Choose one with --time-column" in complaint(csv_file(tmp_path, "a,x,1\n"), time_column="clock")


@pytest.mark.parametrize(
    ("names", "digests", "message"),
    [
        (["a", "b", "a"], "010", "a is given twice, so the same events are read twice. Leave one of them out."),
        (["a", "b", "c"], "011", "b and c have the same content, so the same events are read twice. Leave one of "),
        (["a", "b", "b", "a", "b"], "01101", "a is given twice (others like it: 2), so the same events"),
        (["d/day=1/a", "d/day=2/a"], "00", None),
        (["d/day=1/a", "d/day=1/b"], "00", "d/day=1/a and d/day=1/b have the same content"),
    ],
)
def test_repeated_files_are_warned_of(names, digests, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_repeated_files(names, list(digests))
    assert [each.category for each in caught] == [RepeatedFileWarning] * (message is not None)
    assert message is None or str(caught[0].message).startswith(message)


def test_beauty(shared_dir):
    events = read_interactions(shared_dir / "data" / "beauty" / "interactions.csv.gz")
    assert events.height == 194_682
    assert (events["user_id"].n_unique(), events["item_id"].n_unique()) == (22_362, 12_101)
    assert events.row(0) == ("u00001", "i00004", 1)
