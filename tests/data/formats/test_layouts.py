"""Tests of recognising the layout of text: what is read, what is said, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.formats.layouts import NO_TIME, Reading, recognise
from laclrec_tf.errors import InputError

COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp"}


def read(file: Path, reading: Reading | None = None, **columns: str) -> tuple[list[tuple], str | None]:
    """Return the rows and the note on what was recognised."""
    notes = []
    table = read_interactions(file, reading=reading, on_file=lambda _, found: notes.append(found.note), **columns)
    return table.rows(), notes[0]


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8", newline="")
    return file


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n007\t302\t3\t891717742\n"


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("ml-100k.inter", INTER, "typed header, separator tab"),
        ("typed.tsv", INTER, "typed header"),
        ("typed.csv", INTER.replace("\t", ","), "typed header"),
        ("windows.inter", INTER.replace("\n", "\r\n"), "typed header, separator tab"),
        ("plain.txt", "user_id\titem_id\ttimestamp\n196\t242\t881250949\n007\t302\t891717742\n", "separator tab"),
        ("semicolon.csv", "item_id;timestamp;user_id\n242;881250949;196\n302;891717742;007\n", "separator ';'"),
        ("quoted.csv", '"item_id";"timestamp";"user_id"\n"242";881250949;"196"\n302;891717742;007\n', "separator ';'"),
        ("header.dat", "user_id::item_id::timestamp\n196::242::881250949\n007::302::891717742\n", "separator '::'"),
        (
            "aligned.txt",
            "user_id item_id  timestamp\n 196  242 881250949\n 007  302 891717742\n",
            "separator space",
        ),
    ],
)
def test_headers_of_other_separators_and_with_types(tmp_path, name, text, note):
    assert read(written(tmp_path, name, text)) == ([("196", "242", 881250949), ("007", "302", 891717742)], note)


def test_names_may_have_their_types(tmp_path):
    named = {"user_column": "user_id:token", "item_column": "item_id:token", "time_column": "timestamp:float"}
    for name in ("typed.tsv", "ml-100k.inter"):
        assert read(written(tmp_path, name, INTER), **named)[0] == read(written(tmp_path, name, INTER))[0]


@pytest.mark.parametrize("separator", ["\t", ",", "::", "|", ";", " "])
@pytest.mark.parametrize("name", ["ratings.dat", "u.data", "events.txt", "events.csv", "events.tsv"])
def test_files_without_a_header(tmp_path, separator, name):
    rows = [("1", "1193", "5", "978300760"), ("1", "661", "3", "978302109")]
    file = written(tmp_path, name, "".join(separator.join(row) + "\n" for row in rows))
    events, note = read(file)
    assert events == [("1", "1193", 978300760), ("1", "661", 978302109)]
    assert note.startswith("no header, separator ") and note.endswith("columns: user item - time")
    swapped = "".join(separator.join((row[0], row[1], row[3], row[2])) + "\n" for row in rows)
    assert read(written(tmp_path, name, swapped)) == (events, note.replace("- time", "time -"))
    three = "".join(separator.join((row[0], row[1], row[3])) + "\n" for row in rows)
    assert read(written(tmp_path, name, three))[0] == events
    two = "".join(separator.join(row[:2]) + "\n" for row in rows)
    events, note = read(written(tmp_path, name, two))
    assert events == [("1", "1193", 1), ("1", "661", 2)]
    assert note.endswith(f"columns: user item; {NO_TIME}")


def test_ids_of_a_file_without_a_header_are_text(tmp_path):
    text = "A39H,0205616461,5.0,1369699200\nA3JM,0558925278,3.0,1355443200\n"  # ratings of Amazon
    assert read(written(tmp_path, "ratings_Beauty.csv", text))[0][0] == ("A39H", "0205616461", 1369699200)
    dates = "ann;tent;2024-05-31 12:00:00\nbob;stove;2024-06-01 12:00:00\n"
    assert read(written(tmp_path, "dates.csv", dates))[0][0] == ("ann", "tent", 1_717_156_800_000_000)


def test_ratings_are_told_from_times_and_counters(tmp_path):
    for ratings in ("1 5 4\n1 6 3\n2 5 1\n", "1 5 4.5\n2 6 3.0\n"):
        events, note = read(written(tmp_path, "ratings.txt", ratings))
        assert events[0] == ("1", "5", 1) and note.endswith(f"columns: user item -; {NO_TIME}")
    for unclear in ("1 5 1\n1 6 2\n2 5 1\n", "1 5 80\n1 6 70\n2 5 1\n", "1 5 5 1\n1 6 4 2\n"):  # counters, or plays
        with pytest.raises(InputError, match="is not understood. First lines: '1 5 .*--time-column [34]"):
            read(written(tmp_path, "unclear.txt", unclear))
    told = read(written(tmp_path, "ratings.txt", "1 5 1\n1 6 2\n"), Reading(header=False), time_column="3")
    assert told[0] == [("1", "5", 1), ("1", "6", 2)]
    untold = read(written(tmp_path, "ratings.txt", "1 5 1\n1 6 2\n"), Reading(time=False))
    assert untold[0] == [("1", "5", 1), ("1", "6", 2)]


def test_columns_of_a_file_without_a_header_have_numbers(tmp_path):
    file = written(tmp_path, "events.csv", "3,a,x\n1,b,y\n")
    events = [("a", "x", 3), ("b", "y", 1)]
    assert read(file, user_column="2", item_column="3", time_column="1")[0] == events
    with pytest.raises(InputError, match="has no header, so its columns have numbers: --user-column 1 for the first"):
        read(file, Reading(header=False), user_column="who")
    # A header of numbers has their names.
    file = written(tmp_path, "numbers.csv", "2,1,0\n5,b,y\n")
    assert read(file, user_column="1", item_column="0", time_column="2")[0] == [("b", "y", 5)]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("customer,sku\nann,tent\n", "give the names of columns, such as --user-column customer; if"),
        ("customer,item_id\n7,8\n", "give the names of columns, such as --user-column customer; if"),
        ("1,2\n1,3\n", "rename the columns; if"),
        ("2,1\n1,3\n", "rename the columns; if"),
    ],
)
@pytest.mark.parametrize("name", ["events.csv", "events.txt"])
def test_a_first_line_that_may_be_a_header_is_no_event(tmp_path, name, text, remedy):
    file = written(tmp_path, name, text)
    numbered = {"user_column": "1", "item_column": "2"}
    rows = [tuple(line.split(",")) for line in text.splitlines()]
    with pytest.raises(InputError) as raised:
        read(file, Reading(time=False), **numbered)
    assert f"{file}: the first line, {text.splitlines()[0]!r}, may be a header or an event" in str(raised.value)
    assert str(raised.value).endswith(f"{remedy} it is an event, `prepare` with --no-header.")
    events, _ = read(file, Reading(time=False, header=False), **numbered)
    assert [event[:2] for event in events] == rows


def test_a_first_line_with_a_number_or_a_time_is_an_event(tmp_path):
    for text in ("ann,tent,5\nbob,tent,4\n", "ann,tent,2024-05-31\nbob,tent,2024-06-01\n"):
        file = written(tmp_path, "events.csv", text)
        events, _ = read(file, Reading(time=False), user_column="1", item_column="2")
        assert [event[:2] for event in events] == [("ann", "tent"), ("bob", "tent")]


def test_a_header_of_other_names_stays_a_header(tmp_path):
    for name in ("ratings.csv", "ratings.txt"):
        file = written(tmp_path, name, "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,32,2.5,1260759145\n")
        with pytest.raises(InputError, match="no column 'user_id'. Did you mean --user-column userId"):
            read(file)
        assert read(file, user_column="userId", item_column="movieId")[0][0] == ("1", "31", 1260759144)


@pytest.mark.parametrize(
    ("name", "text", "events"),
    [
        ("histories.txt", "1 5 6 7\n2 6 8\n\n3 9 5 1\n", "1:5 1:6 1:7 2:6 2:8 3:9 3:5 3:1"),
        ("histories.txt", "ann\ttent\tstove\nbob\ttent\n", "ann:tent ann:stove bob:tent"),
        ("lists.txt", "5 6 7\n5 8\n\n9 5 1\n", "1:5 1:6 1:7 2:5 2:8 4:9 4:5 4:1"),
        ("lists.dat", "5,6,7\r\n5,8\r\n", "1:5 1:6 1:7 2:5 2:8"),
    ],
)
def test_a_history_a_line(tmp_path, name, text, events):
    found, note = read(written(tmp_path, name, text))
    assert [f"{user}:{item}" for user, item, _ in found] == events.split()
    assert [time for *_, time in found] == list(range(1, len(found) + 1))
    assert f"layout {'histories' if name.startswith('h') else 'item-lists'}" in note and note.endswith(NO_TIME)


def test_a_table_with_named_columns_is_no_list_of_histories(tmp_path):
    file = written(tmp_path, "histories.txt", "1 5 6 7\n2 6 8\n")
    assert len(read(file)[0]) == 5
    with pytest.raises(InputError, match="is not understood"):
        read(file, user_column="customer")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("events.csv", '"a","t, x",978300760|b,"5"" nail",978300761'),
        ("events.dat", '"a"::"t, x"::978300760|b::5" nail::978300761'),
        ("doubled.dat", '"a"::"t, x"::978300760|b::"5"" nail"::978300761'),
        ("header.dat", '"user_id"::"item_id"::"timestamp"|"a"::"t, x"::"978300760"|b::5" nail::978300761'),
        ("spaces.txt", '"a" "t, x"  978300760|"b"  "5"" nail" 978300761'),
    ],
)
def test_quotes_of_ids_are_left_out_whatever_the_separator(tmp_path, name, lines):
    events, _ = read(written(tmp_path, name, lines.replace("|", "\n") + "\n"))
    assert events == [("a", "t, x", 978300760), ("b", '5" nail', 978300761)]


@pytest.mark.parametrize(("separator", "space"), [("tab", ""), (",", " "), (";", ""), ("space", "")])
def test_quotes_of_histories_are_left_out(tmp_path, separator, space):
    between = {"tab": "\t", "space": " "}.get(separator, separator) + space
    lines = ['"ann"', '"pots, pans"', "tent"], ["bob", '"5"" nail"', '"tent"', 'a"b']
    text = "".join(between.join(line) + "\n" for line in lines)
    events, _ = read(written(tmp_path, "histories.txt", text), Reading(separator, layout="histories"))
    assert [(user, item) for user, item, _ in events] == [
        *(("ann", item) for item in ("pots, pans", "tent")),
        *(("bob", item) for item in ('5" nail', "tent", 'a"b')),
    ]


def test_a_quote_that_is_not_closed_is_part_of_an_id(tmp_path):
    file = written(tmp_path, "events.dat", '"a::t::978300760\nb"::"u"s::978300761\n')
    assert read(file)[0] == [('"a', "t", 978300760), ('b"', '"u"s', 978300761)]


def test_long_lines_are_recognised(tmp_path):
    items = " ".join(map(str, range(100_000, 130_000)))  # longer than a field of Python's reader of CSV may be
    found, note = read(written(tmp_path, "long.txt", f"1 {items}\n2 100000 100001\n"))
    assert len(found) == 30_002 and note.startswith("layout histories")


def test_blank_lines_before_a_header(tmp_path):
    text = "\n\nuser_id::item_id::timestamp\n1::2::3\n\n1::3::4\n"
    assert read(written(tmp_path, "blank.dat", text))[0] == [("1", "2", 3), ("1", "3", 4)]


def test_histories_that_could_be_lists_of_items_are_not_guessed(tmp_path):
    file = written(tmp_path, "unclear.txt", "5 6 7\n6 8\n9 5 1\n")
    with pytest.raises(InputError, match=r"'5 6 7', '6 8'\..*--layout histories .*--layout item-lists") as raised:
        read(file)
    assert "\n" not in str(raised.value)
    assert [row[0] for row in read(file, Reading(layout="histories"))[0]] == ["5", "5", "6", "9", "9"]
    assert [row[0] for row in read(file, Reading(layout="item-lists"))[0]] == list("11122333")
    # Commas with a bad row are no histories, and neither are events of which some are cut.
    with pytest.raises(InputError, match="the header has 2"):
        read(written(tmp_path, "bad.csv", "user_id,item_id\na,x\nb,y,3\n"), Reading(time=False))
    cut = written(tmp_path, "u.data", "1 5 3 881250949\n1 6 3 881250950\n2 5\n")
    with pytest.raises(InputError, match="is not understood"):
        read(cut)


def test_lines_of_one_field_may_be_lists_of_items_but_no_histories(tmp_path):
    file = written(tmp_path, "one.txt", "tent\nstove\n")
    for reading in (None, Reading(header=False)):
        with pytest.raises(InputError, match=r"one of these: --layout item-lists \(item item \.\.\.\); --separator"):
            read(file, reading)
    with pytest.raises(InputError, match="has no line of a user and an item. If a line is only items, .* item-lists"):
        read(file, Reading(layout="histories"))
    assert read(file, Reading(layout="item-lists"))[0] == [("1", "tent", 1), ("2", "stove", 2)]


def test_several_lists_of_items_would_mix_their_users(tmp_path):
    files = [written(tmp_path, name, "a b c\na d\n") for name in ("may.txt", "june.txt")]
    with pytest.raises(InputError, match="may.txt is a list of items.*must be the only file. Received: 2 files"):
        read_interactions(files)


def test_rows_without_times_are_numbered_over_all_files(tmp_path):
    files = [written(tmp_path, name, "1 5\n2 6\n") for name in ("a.txt", "b.txt")]
    assert read_interactions(files)["timestamp"].to_list() == [1, 2, 3, 4]
    timed = written(tmp_path, "c.csv", "user_id,item_id,timestamp\n1,5,7\n")
    with pytest.raises(InputError, match=r"c.csv has times, but \S*a.txt has none. Prepare them apart, or .*--no-time"):
        read_interactions([files[0], timed])
    assert read_interactions([timed, timed], reading=Reading(time=False))["timestamp"].to_list() == [1, 2]


def test_a_misspelt_time_column_is_no_missing_one(tmp_path):
    file = written(tmp_path, "events.csv", "user_id,item_id,timestamp\n1,5,7\n")
    with pytest.raises(InputError, match="no column 'time'. Did you mean --time-column timestamp.*--no-time"):
        read(file, time_column="time")


def test_what_is_told_is_checked(tmp_path):
    for separator in ("", "ab", "é"):
        with pytest.raises(InputError, match="`separator` must be one ASCII character"):
            Reading(separator=separator)
    with pytest.raises(InputError, match="`layout` must be one of events, histories, item-lists"):
        Reading(layout="sessions")
    for rating in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(InputError, match="`min_rating` must be a finite number. Received: -?(nan|inf)."):
            Reading(min_rating=rating)
    with pytest.raises(InputError, match="has no ratings"):
        Reading(layout="histories", min_rating=3)
    file = written(tmp_path, "events.jsonl", '{"user_id": 1, "item_id": 2, "timestamp": 3}\n')
    with pytest.raises(InputError, match="are for text, and .jsonl has none of them"):
        read(file, Reading(separator="tab"))
    assert Reading().settings() == {}
    assert read(written(tmp_path, "a.txt", "1x2x3\n"), Reading("x", header=False), time_column="3")[0] == [
        ("1", "2", 3)
    ]


def test_a_damaged_row_is_named(tmp_path):
    rows = "1::1193::5::978300760\n" * 30
    file = written(tmp_path, "ratings.dat", f"{rows}1::2::3\n{rows}")
    with pytest.raises(InputError, match=r"row 31 \(line 31\) has 3 fields, but the first line has 4. Correct the row"):
        read(file)
    file = written(tmp_path, "u.data", rows.replace("::", "\t") + "1\t\t5\t978300760\n")
    with pytest.raises(InputError, match=r"row 31 \(line 31\): the item_id is empty"):
        read(file)
    (tmp_path / "latin.dat").write_bytes(b"1::caf\xe9::5::978300760\n2::tea::5::978300761\n")
    with pytest.raises(InputError, match="line 1 is not UTF-8 text. Save the file as UTF-8"):
        read(tmp_path / "latin.dat")
    for name in ("empty.txt", "empty.csv"):
        empty = written(tmp_path, name, "\n\n")
        with pytest.raises(InputError, match="is empty. It must contain a header and at least one row"):
            read(empty)
        for told in (Reading(header=False), Reading(layout="item-lists")):
            with pytest.raises(InputError, match="is empty. It must contain at least one row"):
                read(empty, told)


IDS = st.text("abc0123456789", min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(IDS, IDS, st.integers(1, 5), st.integers(10**9, 2 * 10**9)), min_size=1, max_size=20),
    separator=st.sampled_from(["\t", ",", "::", "|", ";", " "]),
)
def test_any_events_without_a_header_are_read_as_written(tmp_path_factory, rows, separator):
    text = "".join(separator.join(map(str, row)) + "\n" for row in rows)
    file = written(tmp_path_factory.mktemp("any"), "ratings.dat", text)
    assert read(file)[0] == [(user, item, time) for user, item, _, time in rows]


def test_nothing_is_recognised_where_nothing_is_clear(tmp_path):
    for text in ("a\nb\n", "who what\nann tent\n", "1,2,x\n3,4,y\n"):
        assert recognise(written(tmp_path, "a.dat", text), ".dat", COLUMNS, Reading(), None) is None


def test_a_time_in_front_is_not_taken_for_a_user(tmp_path):
    (tmp_path / "events.dat").write_text("".join(f"{1_000_000_000 + n}\t{n % 3}\t{n % 5}\n" for n in range(12)))
    with pytest.raises(InputError, match="First lines|--user-column"):
        read_interactions(tmp_path / "events.dat")


def test_the_separator_of_most_columns_is_taken_where_there_is_no_header(tmp_path):
    (tmp_path / "events.csv").write_text("".join(f"{n % 3};{n % 5};3,5;{1_000_000_000 + n}\n" for n in range(12)))
    events = read_interactions(tmp_path / "events.csv", reading=Reading(header=False))
    assert events["user_id"].unique().sort().to_list() == ["0", "1", "2"]
    assert events["timestamp"][0] == 1_000_000_000
