"""Read named columns of text: one event or one history a line; and name the place of a row."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import polars as pl

from laclrec_tf.data.formats.layouts import Layout, split_line
from laclrec_tf.errors import InputError
from laclrec_tf.files import HALF_PAIR, decoded_text


def read_text_table(
    file: Path, source: Path | bytes, names: Collection[str], layout: Layout, check: Callable[[list[str]], None]
) -> pl.DataFrame:
    """Read columns of a table of text, with one event a line.

    Args:
        file: the file, for messages.
        source: its path or its content, for polars.
        names: the names of the columns to read.
        layout: its layout.
        check: function called with all names that the file has; it raises an error if one is missing.

    Returns:
        Those of the columns that the file has, as String, in the order of the file. Blank lines are rows of nulls.

    Raises:
        InputError: `check` raises it, or a line has another number of fields than the first.
    """
    if layout.by_lines:
        return _read_lines(file, source, names, layout, check)
    if not layout.has_header:
        found = list(layout.names)
        check(found)
        places = [place for place, name in enumerate(found) if name in names]
        table = pl.read_csv(source, separator=layout.separator, has_header=False, infer_schema=False, columns=places)
        return table.rename(dict(zip(table.columns, (found[place] for place in places), strict=True)))
    # Read as a row: as a header, polars would rename columns that occur twice.
    header = pl.read_csv(source, separator=layout.separator, has_header=False, infer_schema=False, n_rows=1)
    raw = [name or "" for name in header.row(0)]
    found = list(layout.names) or raw
    check(found)
    as_read = {each: name for each, name in zip(raw, found, strict=True) if name in names}
    table = pl.read_csv(source, separator=layout.separator, infer_schema=False, columns=list(as_read))
    return table.rename(as_read)


def _split(lines: pl.Series, separator: str) -> pl.Series:
    if lines.str.contains('"', literal=True).any():
        parts = (part.to_series() for part in lines.to_frame().iter_slices(2**16))  # few lists of Python at a time
        rows = ([split_line(line, separator) for line in part] for part in parts)
        return pl.concat(pl.Series(lines.name, each, pl.List(pl.String)) for each in rows)
    return lines.str.extract_all(r"\S+") if separator == " " else lines.str.split(separator)


def _read_lines(
    file: Path, source: Path | bytes, names: Collection[str], layout: Layout, check: Callable[[list[str]], None]
) -> pl.DataFrame:
    lines = pl.read_lines(source).to_series().str.strip_chars_end("\r")
    rows = _split(lines, layout.separator)
    found = list(layout.names)
    check(found)
    is_filled = lines.str.strip_chars() != ""
    if layout.has_header:
        first = int(is_filled.arg_true()[0]) + 1
        lines, rows, is_filled = lines[first:], rows[first:], is_filled[first:]
    wrong = (is_filled & (rows.list.len() != len(found))).arg_true()
    if len(wrong):
        raise InputError(
            f"{file}: row {wrong[0] + 1} (line {wrong[0] + 1 + layout.has_header}) has {len(rows[wrong[0]])} fields, "
            f"but the {_first(layout)} has {len(found)}. Correct the row."
        )
    fields = [rows.list.get(place, null_on_oob=True).alias(name) for place, name in enumerate(found) if name in names]
    return pl.DataFrame(fields).with_columns(pl.all().replace("", None))


def read_history_lines(source: Path | bytes, user: str, item: str, layout: Layout) -> pl.DataFrame:
    """Read lines of a user and then items, or of items alone. Empty fields are left out.

    Args:
        source: the file's path or its content, for polars.
        user: name of the column of users.
        item: name of the column of items.
        layout: its layout, of the kind "histories" or "item-lists".

    Returns:
        A row for each item, with the columns `user`, `item`, both String, and `row`, the number of the line.
    """
    kept = pl.element().str.strip_chars()
    items = _split(pl.read_lines(source).to_series().str.strip_chars(), layout.separator).alias(item)
    lines = items.list.eval(kept.filter(kept != "")).to_frame().with_row_index("row", offset=1)
    if layout.kind == "histories":
        lines = lines.with_columns(pl.col(item).list.first().alias(user), pl.col(item).list.slice(1))
    else:
        lines = lines.with_columns(pl.col("row").cast(pl.String).alias(user))
    return lines.explode(item).drop_nulls(item).select(user, item, "row")


def text_place(file: Path, row: int, layout: Layout) -> str:
    """Name the place of a row of text for a message, such as `row 17 (line 18)`."""
    if layout.kind != "events":
        return f"line {row}"
    n_before = row - 1 + layout.has_header  # rows, with the header
    if layout.by_lines:
        return f"row {row} (line {n_before + 1})"
    with decoded_text(file) as text:
        reader = csv.reader(text, delimiter=layout.separator)
        try:
            deque(islice(reader, n_before), maxlen=0)  # fields of the rows before may contain line breaks
        except csv.Error:
            return f"row {row}"
        return f"row {row} (line {reader.line_num + 1})"


def damaged_row(file: Path, layout: Layout) -> str | None:
    """Describe the first damaged row of text and the remedy, None if none is found."""
    with decoded_text(file) as text:
        if layout.by_lines:
            bad = next((number for number, line in enumerate(text, start=1) if HALF_PAIR.search(line)), None)
            return None if bad is None else f"line {bad} is not UTF-8 text. Save the file as UTF-8."
        for place, problem in _bad_delimited(text, layout):
            remedy = "Save the file as UTF-8" if problem.endswith("UTF-8 text") else "Correct the row"
            return f"{place} {problem}. {remedy}."
    return None


def _first(layout: Layout) -> str:
    return "header" if layout.has_header else "first line"


def _bad_delimited(text: IO[str], layout: Layout) -> Iterator[tuple[str, str]]:
    reader = csv.reader(text, delimiter=layout.separator, strict=True)
    open_quote = "has a quote that is not closed (inside a quoted field, double it)"
    row, width = 0 if layout.has_header else 1, 0
    while True:
        place = f"row {row} (line {reader.line_num + 1})" if row else "the header (line 1)"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield place, open_quote
            return
        width = width or len(fields)
        if any(map(HALF_PAIR.search, fields)):
            yield place, "is not UTF-8 text"
        if any(field.count('"') % 2 for field in fields):  # Python's reader accepts a quote inside an unquoted field
            yield place, open_quote
        if len(fields) > width:
            yield place, f"has {len(fields)} fields, but the {_first(layout)} has {width}"
        row += 1
