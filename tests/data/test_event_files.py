"""Tests of reading single files of events."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import polars as pl
import pytest

from laclrec_tf.data.event_files import format_of, read_columns, row_place
from laclrec_tf.errors import InputError

JSON = b'{"user_id":1,"item_id":2,"timestamp":3}\n'
CSV = b"user_id,item_id,timestamp\n007,tent,1\n8,stove,2\n"
COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp"}


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.csv", ".csv"),
        ("A.TSV", ".tsv"),
        ("a.2024.csv.gz", ".csv"),
        ("a.ndjson.GZ", ".ndjson"),
        ("a.parquet", ".parquet"),
    ],
)
def test_the_format_follows_from_the_extension(tmp_path, name, extension):
    (tmp_path / name).touch()
    assert format_of(tmp_path / name) == extension


@pytest.mark.parametrize("name", ["events.xlsx", "events", "events.parquet.gz", "events.gz", ".csv.zip"])
def test_unknown_extensions_list_the_known_ones(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="unknown extension. Known: .csv, .tsv, .jsonl, .ndjson, .parquet"):
        format_of(tmp_path / name)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="events.csv does not exist. Check the path"):
        format_of(tmp_path / "events.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="folder.csv is a folder. Name the files in it"):
        format_of(tmp_path / "folder.csv")


def gzipped(content: bytes) -> bytes:
    """Compress without the time of day, which would be another parameter in each process that collects."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("cut.csv.gz", gzipped(CSV * 99)[:-12], "gzip content is damaged or truncated"),
        ("not.csv.gz", CSV, "gzip content is damaged or truncated"),
        ("flipped.csv.gz", gzipped(CSV)[:-6] + b"\0" * 6, "gzip content is damaged or truncated"),
        ("cut.parquet", b"PAR1" + b"\0" * 40, "not a complete Parquet file"),
        ("wide.csv", CSV + b"9,kayak,3,4\n", "row 3 (line 4) has 4 fields, but the header has 3"),
        ("latin.csv", CSV + b"9,caf\xe9,3\n", "row 3 (line 4) is not UTF-8 text"),
        ("latin.csv.gz", gzipped(b"\xef\xbb\xbf" + CSV + b"9,caf\xe9,3\n"), "row 3 (line 4) is not UTF-8 text"),
        ("broken.jsonl", JSON + b'\n{"user_id":\n', "row 2 (line 3) is not JSON"),
        ("list.jsonl", JSON + b"[1]\n", "row 2 (line 2) is not a JSON object"),
        ("latin.jsonl", JSON + b'{"user_id":"caf\xe9"}\n', "row 2 (line 2) is not UTF-8 text"),
        ("quote.csv", CSV + b'9,5" nail,3\n', "row 3 (line 4) has a quote that is not closed"),
        ("open.csv", CSV + b'9,"nail,3\n10,rope,4\n', "row 3 (line 4)"),
    ],
)
def test_damage_is_said_in_one_line_with_its_place(tmp_path, name, content, problem):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_columns(file, COLUMNS)
    message = str(raised.value)
    assert message.startswith(f"{file}: ") and problem in message
    assert len(message.splitlines()) == 1


def written(tmp_path: Path, name: str, content: bytes) -> Path:
    file = tmp_path / name
    file.write_bytes(content)
    return file


def test_rows_are_placed_by_line_where_the_file_has_lines(tmp_path):
    content = b'a,b\n"x\ny",1\n\nz,2\nw,3\n'
    file = written(tmp_path, "events.csv", content)
    assert [row_place(file, row) for row in (1, 2, 3, 4)] == [
        "row 1 (line 2)",
        "row 2 (line 4)",
        "row 3 (line 5)",
        "row 4 (line 6)",
    ]
    zipped = written(tmp_path, "events.csv.gz", gzip.compress(content))
    assert row_place(zipped, 4) == "row 4 (line 6)"
    assert row_place(written(tmp_path, "events.jsonl", b"{}\n\n{}\n"), 2) == "row 2 (line 3)"
    assert row_place(written(tmp_path, "events.parquet", b""), 2) == "row 2"


@pytest.mark.parametrize("name", ["ev [1]", "ev*", "ev?"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_name_is_no_pattern(tmp_path, name, ending):
    table = pl.DataFrame({"user_id": ["007"], "item_id": ["tent"], "timestamp": ["1"]})
    write = {".csv": table.write_csv, ".jsonl": table.write_ndjson, ".parquet": table.write_parquet}[ending]
    (tmp_path / "may [2]").mkdir()
    for each in (name, "ev 1", "ev2"):
        with (tmp_path / "may [2]" / f"{each}{ending}").open("wb") as out:
            write(out)
    file = tmp_path / "may [2]" / f"{name}{ending}"
    assert read_columns(file, COLUMNS).height == 1


def complaint(file: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_columns(file, COLUMNS)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert file.name in message
    return message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.csv", CSV),
        ("EVENTS.CSV", CSV),
        ("shop.2024.csv", CSV),
        ("events.csv.gz", gzipped(CSV)),
        ("two-members.csv.gz", gzipped(CSV[:30]) + gzipped(CSV[30:])),
        ("events.tsv", CSV.replace(b",", b"\t")),
        ("events.tsv.gz", gzipped(CSV.replace(b",", b"\t"))),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("bom.csv.gz", gzipped(b"\xef\xbb\xbf" + CSV)),
        ("quoted-bom.csv", b"\xef\xbb\xbf" + CSV.replace(b"user_id", b'"user_id"')),
        ("windows.csv", CSV.replace(b"\n", b"\r\n")),
        ("no-last-line-end.csv", CSV.rstrip()),
        ("quoted.csv", CSV.replace(b"tent", b'"tent"').replace(b"007", b'"007"')),
        ("blank-end.csv", CSV + b"\n\n"),
        ("more-columns.csv", b"stars,timestamp,item_id,user_id\n5,1,tent,007\n4,2,stove,8\n"),
        (
            "events.jsonl",
            b'{"user_id":"007","item_id":"tent","timestamp":1}\n'
            b'\n{"timestamp":2,"x":[],"item_id":"stove","user_id":8}\n',
        ),
        (
            "bom.ndjson",
            b'\xef\xbb\xbf{"user_id":"007","item_id":"tent","timestamp":"1"}\n'
            b'{"user_id":"8","item_id":"stove","timestamp":"2"}',
        ),
    ],
)
def test_each_format_of_text_gives_the_same_rows(tmp_path, name, content):
    events = read_columns(written(tmp_path, name, content), COLUMNS)
    assert events.columns == ["user_id", "item_id", "timestamp", "row"]
    assert events.rows() == [("007", "tent", "1", 1), ("8", "stove", "2", 2)]


def test_parquet_keeps_its_types(tmp_path):
    table = pl.DataFrame({"timestamp": [1.5], "user_id": [2**60 + 1], "item_id": ["007"], "more": [0]})
    table.write_parquet(tmp_path / "events.parquet")
    events = read_columns(tmp_path / "events.parquet", COLUMNS)
    assert events.rows() == [(2**60 + 1, "007", 1.5, 1)]


def test_json_numbers_keep_their_digits(tmp_path):
    row = b'{"user_id":12345678901234567890,"item_id":null,"timestamp":1700000000123456789}\n'
    last = b'{"user_id":"u","item_id":"i","timestamp":0.1}\n'
    events = read_columns(written(tmp_path, "events.jsonl", row + last), COLUMNS)
    assert events.rows()[0] == ("12345678901234567890", None, "1700000000123456789", 1)
    assert events["timestamp"][1] == "0.1"


@pytest.mark.parametrize("value", ['{"a": 1}', '["u"]', "true", "1.5", "1.0", "1e3"])
@pytest.mark.parametrize("name", ["user_id", "item_id"])
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_json_ids_are_text_or_integers(tmp_path, value, name, ending):
    good = (
        b'{"user_id":"true","item_id":-5,"timestamp":1.5}\n\n{"more":{"item_id":1.5},"item_id":"[1.5]","user_id":7}\n'
    )
    row = f'{{"timestamp":1,"user_id":"u","item_id":"i","{name}" : {value}}}\n'.encode()
    content = good + (row + good)
    file = written(tmp_path, f"events.{ending}", gzipped(content) if ending.endswith("gz") else content)
    message = complaint(file)
    assert f"row 3 (line 4): the {name} " in message
    assert "is neither text nor an integer. Write ids as text or as integers" in message


def test_json_ids_are_judged_where_they_stand(tmp_path):
    rows = (
        b'{"user_id":"true","item_id":-5,"timestamp":1.5}\n'
        b'{"more":{"item_id":1.5},"item_id":"[1.5]","user_id":7,"timestamp":2}\n'
        b'{"item_id":null,"timestamp":3,"user_id":"\\"item_id\\": {}"}\n'
    )
    events = read_columns(written(tmp_path, "events.jsonl", rows), COLUMNS)
    assert events["item_id"].to_list() == ["-5", "[1.5]", None]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_needed_column_that_comes_twice_is_named(tmp_path, ending):
    separator = {"csv": ",", "tsv": "\t"}[ending]
    rows = [["user_id", "item_id", "timestamp", "item_id"], ["a", "x", "1", "y"]]
    content = "\n".join(separator.join(row) for row in rows).encode()
    message = complaint(written(tmp_path, f"events.{ending}", content))
    assert "the column 'item_id' occurs 2 times. Rename or remove the others" in message
    others = content.replace(b"item_id", b"other").replace(b"other", b"item_id", 1)
    others = others.replace(b"timestamp", separator.join(["timestamp", "other"]).encode())
    others = others.replace(b"1", separator.join(["1", "z"]).encode())
    assert read_columns(written(tmp_path, f"fine.{ending}", others), COLUMNS).rows() == [("a", "x", "1", 1)]


def test_quoted_fields_hold_separators_quotes_and_line_breaks(tmp_path):
    content = b'user_id,item_id,timestamp\n"a,b","a ""big"" tent","x\ny"\n'
    events = read_columns(written(tmp_path, "events.csv", content), COLUMNS)
    assert events.rows() == [("a,b", 'a "big" tent', "x\ny", 1)]


def test_blank_lines_are_left_out_but_counted(tmp_path):
    content = b"user_id,item_id,timestamp\n\n1,tent,1\n,,\n2,,\n"
    events = read_columns(written(tmp_path, "events.csv", content), COLUMNS)
    assert events.rows() == [("1", "tent", "1", 2), ("2", None, None, 4)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_empty_files(tmp_path, name):
    content = gzipped(b"") if name.endswith("gz") else b""
    assert written(tmp_path, name, content).exists()
    message = complaint(tmp_path / name)
    assert "is empty" in message or "contains no rows" in message or "not a complete Parquet file" in message


def test_a_header_alone_is_no_events(tmp_path):
    for content in (CSV.splitlines()[0], CSV.splitlines()[0] + b"\n\n\n"):
        assert "contains no rows" in complaint(written(tmp_path, "events.csv", content))
    pl.DataFrame(schema=dict.fromkeys(COLUMNS.values(), pl.String)).write_parquet(tmp_path / "none.parquet")
    assert "contains no rows" in complaint(tmp_path / "none.parquet")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_missing_column_is_named_with_the_closest(tmp_path, ending):
    file = tmp_path / f"events.{ending}"
    table = pl.DataFrame({"User_ID": ["a"], "product": ["b"], "timestamp": [1]})
    {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[ending](file)
    message = complaint(file)
    assert "no column 'user_id'. Did you mean --user-column User_ID?" in message
    assert "Columns found: 'User_ID', 'product', 'timestamp'" in message
    with pytest.raises(InputError, match="no column 'what'. Columns found.*Choose one with --item-column"):
        read_columns(file, {"user": "User_ID", "item": "what"})


def test_a_column_of_nulls_is_not_a_missing_column(tmp_path):
    content = b'{"user_id":null,"item_id":"i","timestamp":1}\n'
    assert read_columns(written(tmp_path, "events.jsonl", content), COLUMNS).rows() == [(None, "i", "1", 1)]


@pytest.mark.parametrize(
    ("name", "separator", "remedy"),
    [
        ("events.csv", ";", "Save it with commas as .csv"),
        ("events.csv", "\t", "Name it .tsv"),
        ("events.tsv", ",", "Name it .csv"),
    ],
)
def test_the_separator_that_a_file_seems_to_have_is_named(tmp_path, name, separator, remedy):
    file = tmp_path / name
    file.write_text(separator.join(("user_id", "item_id", "timestamp")) + "\n" + separator.join("abc") + "\n")
    columns = {"user": "user_id", "item": "item_id", "time": "timestamp"}
    seems = f"has one column, .*separator seems to be {re.escape(repr(separator))}, but .*{remedy}"
    with pytest.raises(InputError, match=seems):
        read_columns(file, columns)
    # As R writes it: every text is quoted.
    names, values = ([f'"{each}"' for each in row] for row in (columns.values(), "abc"))
    file.write_text(separator.join(names) + "\n" + separator.join(values) + "\n")
    with pytest.raises(InputError, match=seems) as raised:
        read_columns(file, columns)
    assert "'user_id" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("note", ["sep=,", "sep=;", '"sep=,"', "SEP=\t"])
def test_the_note_of_excel_before_the_header_is_named(tmp_path, note):
    for content in (CSV, CSV.replace(b",", b";")):
        file = written(tmp_path, "events.csv", b"\xef\xbb\xbf" + note.encode() + b"\r\n" + content)
        assert f"{file}, line 1: {note!r} is Excel's note of the separator, not a header. Remove" in complaint(file)


EMOJI = "\\ud83d\\ude00"
UNUSUAL = ["NaN", "-Infinity", "1e400", '"\\ude00"', '"\\ud83d"', f'"{EMOJI}"', "9" * 60, '{"x": 1, "x": [NaN]}']


@pytest.mark.parametrize("value", UNUSUAL)
@pytest.mark.parametrize("ending", ["jsonl", "ndjson.gz"])
def test_json_columns_that_are_not_needed_do_not_matter(tmp_path, value, ending):
    rows = f'{{"user_id":"\ufffd{EMOJI}","item_id":2,"timestamp":0.5,"price":1,"price":{value}}}\n\n'
    content = (rows + '{"user_id":null,"item_id":"007","timestamp":1700000000123456789}').encode()
    file = written(tmp_path, f"events.{ending}", gzipped(content) if ending.endswith("gz") else content)
    assert read_columns(file, COLUMNS).rows() == [
        ("\ufffd\U0001f600", "2", "0.5", 1),
        (None, "007", "1700000000123456789", 2),
    ]


@pytest.mark.parametrize("unusual", ["1", "NaN"])  # read by polars, and by Python
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"user_id":NaN}', "the user_id NaN is neither text nor an integer"),
        ('{"user_id":"\\ude00"}', "the user_id .* has half a surrogate pair"),
        ('{"user_id":"a","user_id":"b"}', "the user_id occurs twice. Remove one of them"),
        ('{"user\\u005fid":"a","user_id":"a"}', "the user_id occurs twice"),
        ('{"user_id":"a","timestamp":1,"timestamp":null}', "the timestamp occurs twice"),
        ('{"\\u0075ser_id":1.5}', "the user_id 1.5 is neither text nor an integer"),
    ],
)
def test_json_values_that_are_read_in_two_ways_are_named_with_their_row(tmp_path, unusual, row, problem):
    file = tmp_path / "events.jsonl"
    file.write_text(f'{{"user_id": "{EMOJI}", "timestamp": 1, "price": {unusual}}}\n\n{row}\n')
    with pytest.raises(InputError, match=r"events.jsonl, row 2 \(line 3\): " + problem):
        read_columns(file, {"user": "user_id", "time": "timestamp"})


def test_numbers_of_json_that_are_no_times_stay_visible(tmp_path):
    rows = "\n".join(f'{{"timestamp":{value}}}' for value in ("1", "NaN", "1e400", "true"))
    file = written(tmp_path, "events.jsonl", rows.encode())
    times = read_columns(file, {"time": "timestamp"})["timestamp"]
    assert times.to_list() == ["1", "NaN", "Infinity", "true"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_optional_column_may_be_missing_or_come_late(tmp_path, ending):
    columns = {"item": "item_id", "weight": "weight"}
    for weights in ([None] * 3000, [None] * 2000 + [5] * 1000):
        table = pl.DataFrame({"item_id": ["x"] * 3000, "weight": weights}, {"item_id": pl.String, "weight": pl.Int64})
        rows = [{name: value for name, value in row.items() if value is not None} for row in table.to_dicts()]
        file = tmp_path / f"neighbours.{ending}"
        if ending == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            shown = table if weights[-1] else table.drop("weight")
            {"csv": shown.write_csv, "parquet": shown.write_parquet}[ending](file)
        found = read_columns(file, columns, optional=("weight",))
        assert found.columns == (["item_id", "weight", "row"] if weights[-1] else ["item_id", "row"])
        assert not weights[-1] or found["weight"].cast(pl.Int64).to_list() == weights
    with pytest.raises(InputError, match="no column 'price'"):
        read_columns(file, columns | {"price": "price"}, optional=("weight",))


def test_columns_of_json_are_found_in_every_row(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text('{"user_id": "a"}\n' * 2000 + '{"user_id": "b", "Item": 1}\n')
    with pytest.raises(InputError, match="no column 'item'. Did you mean --item-column Item"):
        read_columns(file, {"user": "user_id", "item": "item"})
    file.write_text('{"user_id": "a"}\n' * 2000 + '{"user_id": "b", "item": null}\n')
    assert read_columns(file, {"user": "user_id", "item": "item"})["item"].is_null().all()


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl"])
def test_lines_may_end_with_carriage_returns_alone(tmp_path, ending):
    lines = [JSON.strip()] * 2 if ending == "jsonl" else CSV.split()
    content = b"\r".join([b"\xef\xbb\xbf" + lines[0], *lines[1:], b""])
    file = written(tmp_path, f"events.{ending}", gzipped(content) if ending.endswith("gz") else content)
    assert read_columns(file, COLUMNS).height == 2
    assert row_place(file, 2) == ("row 2 (line 2)" if ending == "jsonl" else "row 2 (line 3)")


def test_half_a_surrogate_pair_is_no_id(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text('{"user_id": "\\ud83d\\ude00"}\n{"user_id": "\\ud83d"}\n')
    with pytest.raises(InputError, match=r"row 2 \(line 2\): the user_id .* has half a surrogate pair"):
        read_columns(file, {"user": "user_id"})
    file.write_text('{"user_id": "\\ud83d\\ude00"}\n')
    assert read_columns(file, {"user": "user_id"})["user_id"].to_list() == ["\U0001f600"]


def test_gzip_content_is_recognised_and_its_errors_name_the_right_lines(tmp_path):
    file = tmp_path / "events.csv"
    file.write_bytes(gzip.compress(b"user_id\na\n\xff\n"))
    with pytest.raises(InputError, match=r"row 2 \(line 3\) is not UTF-8 text. Save the file as UTF-8"):
        read_columns(file, {"user": "user_id"})
