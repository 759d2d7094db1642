"""Read and validate events of users with items, from files or from a table in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from laclrec_tf.data.event_files import as_ids, is_blank, read_columns, row_place
from laclrec_tf.data.tables import table_columns
from laclrec_tf.data.timestamps import comparable_numbers, parse_timestamps
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import LINE_BREAKS


def read_interactions(
    files: str | Path | Sequence[str | Path],
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str = "timestamp",
    on_file: Callable[[Path, int], None] | None = None,
    named_by_option: bool = True,
) -> pl.DataFrame:
    """Read events from one file or several, which may have different formats.

    The format follows from the extension: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`.
    Ids are always strings: `007` stays `007`; integers become their decimal digits.
    Timestamps are integers, floats, ISO text or dates, see `parse_timestamps`.

    Args:
        files: the files, in order.
        user_column: name of the column of user ids. Default: "user_id".
        item_column: name of the column of item ids. Default: "item_id".
        time_column: name of the column of timestamps. Default: "timestamp".
        on_file: function called with each file and its number of rows after the file is read. Default: None.
        named_by_option: see `read_columns`. Default: True.

    Returns:
        `user_id` String, `item_id` String, `timestamp` Int64 or Float64 (dates become microseconds since 1970 in UTC),
        in the order of the files and of their rows.

    Raises:
        InputError: a file is missing, damaged, empty or of an unknown format, a column is missing or occurs twice, an
            id is blank or neither text nor an integer, an id contains a NUL character, an item id a line break, or a
            timestamp cannot be read. The message names the file, the first bad row and the remedy.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = file.write_text("user_id,item_id,timestamp\\n007,tent,3\\n")
        >>> read_interactions(file).rows()
        [('007', 'tent', 3)]
    """
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    columns = {"user": user_column, "item": item_column, "time": time_column}
    if not paths:
        raise InputError("Argument `files` must name at least one file of events. Received: none.")
    check_columns_differ(columns)
    tables = []
    for path in paths:
        tables.append(read_event_file(path, columns, named_by_option=named_by_option))
        if on_file is not None:
            on_file(path, tables[-1].height)
    times = comparable_numbers([table["timestamp"] for table in tables], [str(path) for path in paths])
    tables = [table.with_columns(timestamp=column) for table, column in zip(tables, times, strict=True)]
    return pl.concat(tables, rechunk=True)


def check_columns_differ(columns: Mapping[str, str]) -> None:
    """Check that "user", "item" and "time" are different columns.

    Raises:
        InputError: two of them have the same name.
    """
    if len(set(columns.values())) < len(columns):
        raise InputError(
            "Arguments `user_column`, `item_column` and `time_column` must differ. "
            f"Received: {', '.join(map(repr, columns.values()))}."
        )


def table_interactions(
    table: Any, *, user_column: str = "user_id", item_column: str = "item_id", time_column: str | None = "timestamp"
) -> pl.DataFrame:
    """Read events from a table in memory, with the same checks as for a file.

    Args:
        table: a table of pandas, polars or pyarrow, one row for each event.
        user_column: name of the column of user ids. Default: "user_id".
        item_column: name of the column of item ids. Default: "item_id".
        time_column: name of the column of timestamps; None reads no times. Default: "timestamp".

    Returns:
        See `read_interactions`; without times only the ids.

    Raises:
        InputError: see `read_interactions`; the message names the first bad row, where the table's first row is 1.

    Example:
        >>> table = pl.DataFrame({"user_id": [7], "item_id": ["tent"], "timestamp": ["2024-05-31"]})
        >>> table_interactions(table).rows()
        [('7', 'tent', 1717113600000000)]
    """
    columns = {"user": user_column, "item": item_column}
    if time_column is not None:
        columns["time"] = time_column
    raw = table_columns(table, {f"{role}_column": name for role, name in columns.items()})
    if raw.is_empty():
        raise InputError("The table contains no rows. It must contain at least one.")
    events = _checked(None, raw.with_row_index("row", offset=1), columns)
    if time_column is None:
        return events
    (times,) = comparable_numbers([events["timestamp"]], ["the table"])
    return events.with_columns(timestamp=times)


def read_event_file(file: Path, columns: Mapping[str, str], *, named_by_option: bool = True) -> pl.DataFrame:
    """Read the events of one file, without converting timestamps to numbers.

    Args:
        file: see `read_interactions`.
        columns: "user", "item" and "time" -> the column's name.
        named_by_option: see `read_columns`. Default: True.

    Returns:
        `user_id` String, `item_id` String, and `timestamp` as `parse_timestamps` returns it, without nulls.

    Raises:
        InputError: see `read_interactions`.
    """
    return _checked(file, read_columns(file, columns, named_by_option=named_by_option), columns)


def _checked(file: Path | None, raw: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """Convert the columns of a file, or of a table if `file` is None, to events; refuse the first bad row."""
    source = "The table" if file is None else str(file)
    users, items = raw[columns["user"]], raw[columns["item"]]
    table = pl.DataFrame({"user_id": as_ids(source, users), "item_id": as_ids(source, items)})
    bad = {
        "user": is_blank(pl.col("user_id")) | pl.col("user_id").str.contains("\0", literal=True),
        "item": is_blank(pl.col("item_id")) | pl.col("item_id").str.contains(f"[\0{LINE_BREAKS}]"),
    }
    if "time" in columns:
        try:
            table = table.with_columns(timestamp=parse_timestamps(raw[columns["time"]]))
        except InputError as error:
            raise InputError(f"{source}, column {columns['time']!r}: {error}") from None
        bad["time"] = pl.col("timestamp").is_null()
    # The index of each column's first bad row, null if there is none.
    first_bad = table.select(pl.arg_where(mask).first().alias(role) for role, mask in bad.items())
    found = [(index, role) for role, index in first_bad.row(0, named=True).items() if index is not None]
    if found:
        index, role = min(found)
        row = raw["row"][index]
        place = f"The table, row {row}" if file is None else f"{file}, {row_place(file, row)}"
        raise InputError(f"{place}: the {columns[role]} {_problem(role, raw[columns[role]][index])}")
    return table


def _problem(role: str, value: object) -> str:
    text = "" if value is None else str(value)
    shown = repr(text if len(text) <= 60 else text[:60] + "...")
    if not text.strip():
        return "is empty. Fill it in or remove the row."
    if role == "time":
        return (
            f"{shown} is not a timestamp. Write all timestamps as numbers, such as 1717156800, "
            "or all as ISO text, such as 2024-05-31T12:00:00Z."
        )
    return f"{shown} contains a {'NUL character' if chr(0) in text else 'line break'}. Remove it."
