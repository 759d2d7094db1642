"""Read and validate events of users with items, from files or from a table in memory."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from laclrec_tf.data.event_files import as_ids, files_of, is_blank, layout_of, read_columns, row_place
from laclrec_tf.data.formats.layouts import NO_TIME, Layout, Reading
from laclrec_tf.data.tables import table_columns
from laclrec_tf.data.timestamps import comparable_numbers, parse_timestamps
from laclrec_tf.errors import InputError, LACLRecWarning
from laclrec_tf.item_vocabulary import LINE_BREAKS

# What `Reading.drop_missing` leaves out, besides empty ids.
_MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", ".")


class RepeatedFileWarning(LACLRecWarning):
    """The same file of events is given twice."""


@dataclass(frozen=True)
class FileSummary:
    """What was read of one file.

    Args:
        rows: number of its events, with those that were left out.
        has_times: whether it has times; if not, the order of the rows is the order of the events.
        note: what was recognised, None if the file is what its extension says.
        kind: one of `LAYOUTS`. Default: "events".
        dropped: numbers of events left out, by the names of `counts` in `dataset.json`. Default: none.
    """

    rows: int
    has_times: bool
    note: str | None
    kind: str = "events"
    dropped: dict[str, int] = field(default_factory=dict)

    def record(self, name: str, sha256: str) -> dict[str, Any]:
        """Return what `dataset.json` says of the file."""
        return {"file": name, "sha256": sha256, "rows": self.rows} | (
            {} if self.note is None else {"read_as": self.note}
        )


def read_interactions(
    files: str | Path | Sequence[str | Path],
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str = "timestamp",
    reading: Reading | None = None,
    on_file: Callable[[Path, FileSummary], None] | None = None,
    named_by_option: bool = True,
) -> pl.DataFrame:
    """Read events from one file or several, which may have different formats.

    The format follows from the extension: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`.
    The separator and header of other text (`.inter`, `.dat`, `.data`, `.txt`) are recognised, as are those of a `.csv`
    or `.tsv` file without the columns that are looked for.
    Ids are always strings: `007` stays `007`; integers become their decimal digits.
    Timestamps are integers, floats, ISO text or dates, see `parse_timestamps`.

    Args:
        files: the files, in order; a folder stands for its Parquet files, a pattern for the files that match.
        user_column: name of the column of user ids. Default: "user_id".
        item_column: name of the column of item ids. Default: "item_id".
        time_column: name of the column of timestamps. Default: "timestamp".
        reading: what is known about the files, and what to leave out. Default: None, `Reading()`.
        on_file: function called with each file and its summary after the file is read. Default: None.
        named_by_option: see `read_columns`. Default: True.

    Returns:
        `user_id` String, `item_id` String, `timestamp` Int64 or Float64 (dates become microseconds since 1970 in UTC;
        without times, the numbers of the rows), in the order of the files and of their rows.

    Raises:
        InputError: a file is missing, damaged, empty or of an unknown format, a column is missing or occurs twice, some
            files have times and others none, an id is blank or neither text nor an integer, an id contains a NUL
            character, an item id a line break, or a timestamp cannot be read. The message names the file, the first bad
            row and the remedy.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = file.write_text("user_id,item_id,timestamp\\n007,tent,3\\n")
        >>> read_interactions(file).rows()
        [('007', 'tent', 3)]
    """
    paths = files_of([files] if isinstance(files, str | Path) else files)
    reading = reading or Reading()
    columns = reading.columns(user_column, item_column, time_column)
    if not paths:
        raise InputError("Argument `files` must name at least one file of events. Received: none.")
    check_columns_differ(columns)
    tables, summaries = [], []
    for path in paths:
        table, summary = read_event_file(path, columns, named_by_option=named_by_option, reading=reading)
        tables.append(table)
        summaries.append(summary)
        if on_file is not None:
            on_file(path, summary)
    if not check_times([str(path) for path in paths], summaries):
        return with_row_numbers(pl.concat(tables, rechunk=True))
    times = comparable_numbers([table["timestamp"] for table in tables], [str(path) for path in paths])
    tables = [table.with_columns(timestamp=column) for table, column in zip(tables, times, strict=True)]
    return pl.concat(tables, rechunk=True)


def check_columns_differ(columns: Mapping[str, str]) -> None:
    """Check that "user", "item" and the other roles are different columns.

    Raises:
        InputError: two of them have the same name.
    """
    if len(set(columns.values())) < len(columns):
        *names, last = (f"`{role}_column`" for role in columns)
        raise InputError(
            f"Arguments {', '.join(names)} and {last} must differ. Received: {', '.join(map(repr, columns.values()))}."
        )


def check_times(names: Sequence[str], summaries: Sequence[FileSummary]) -> bool:
    """Return whether the files have times; check that all or none have, and that only one file is a list of items.

    Raises:
        InputError: some files have times and others none, or users of several files would have the same number.
    """
    timed = [summary.has_times for summary in summaries]
    if len(set(timed)) > 1:
        raise InputError(
            f"{names[timed.index(True)]} has times, but {names[timed.index(False)]} has none. Prepare them apart, or "
            "all of them with --no-time for the order of the rows."
        )
    lists = [name for name, summary in zip(names, summaries, strict=True) if summary.kind == "item-lists"]
    if lists and len(names) > 1:
        raise InputError(
            f"{lists[0]} is a list of items, whose users are the numbers of the lines, so it must be the only file. "
            f"Received: {len(names)} files. Join them first."
        )
    return timed[0]


def warn_of_repeated_files(names: Sequence[str], digests: Sequence[str]) -> None:
    """Warn of files with the same path or content, whose events are read twice.

    Args:
        names: the paths. Files of different partitions, such as `date=2024-05-31`, are different files.
        digests: per file the SHA-256 digest.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warn_of_repeated_files(["may.csv", "june.csv", "copy.csv"], ["0a", "1b", "0a"])
        >>> print(caught[0].message)
        may.csv and copy.csv have the same content, so the same events are read twice. Leave one of them out.
    """
    equal: dict[tuple[str, ...], list[str]] = {}
    for name, digest in zip(names, digests, strict=True):
        equal.setdefault((digest, *(part for part in name.split("/")[:-1] if "=" in part)), []).append(name)
    repeated = [files for files in equal.values() if len(files) > 1]
    if repeated:
        one, other = repeated[0][:2]
        more = sum(len(files) - 1 for files in repeated) - 1
        warnings.warn(
            (f"{one} is given twice" if one == other else f"{one} and {other} have the same content")
            + f" (others like it: {more})" * (more > 0)
            + ", so the same events are read twice. Leave one of them out.",
            RepeatedFileWarning,
            stacklevel=3,
        )


def with_row_numbers(events: pl.DataFrame) -> pl.DataFrame:
    """Return events with the number of each row, from 1, as its `timestamp`."""
    return events.select("user_id", "item_id", timestamp=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))


def table_interactions(
    table: Any,
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str | None = "timestamp",
    reading: Reading | None = None,
    dropped: Counter[str] | None = None,
) -> pl.DataFrame:
    """Read events from a table in memory, with the same checks as for a file.

    Args:
        table: a table of pandas, polars or pyarrow, one row for each event.
        user_column: name of the column of user ids. Default: "user_id".
        item_column: name of the column of item ids. Default: "item_id".
        time_column: name of the column of timestamps; None reads no times. Default: "timestamp".
        reading: what to leave out, see `read_interactions`. Default: None, nothing.
        dropped: numbers of events left out, by name; those of this table are added. Default: None.

    Returns:
        See `read_interactions`; with `time_column=None` only the ids.

    Raises:
        InputError: see `read_interactions`; the message names the first bad row, where the table's first row is 1.

    Example:
        >>> table = pl.DataFrame({"user_id": [7], "item_id": ["tent"], "timestamp": ["2024-05-31"]})
        >>> table_interactions(table).rows()
        [('7', 'tent', 1717113600000000)]
    """
    reading = reading or Reading()
    columns = reading.columns(user_column, item_column, time_column or "")
    if time_column is None:
        columns.pop("time", None)
    raw = table_columns(table, {f"{role}_column": name for role, name in columns.items()})
    if raw.is_empty():
        raise InputError("The table contains no rows. It must contain at least one.")
    events, left_out = _checked(None, raw.with_row_index("row", offset=1), columns, reading)
    if dropped is not None:
        dropped.update(left_out)
    if "time" in columns:
        (times,) = comparable_numbers([events["timestamp"]], ["the table"])
        return events.with_columns(timestamp=times)
    return events.drop("timestamp") if time_column is None else events


def read_event_file(
    file: Path, columns: Mapping[str, str], *, named_by_option: bool = True, reading: Reading | None = None
) -> tuple[pl.DataFrame, FileSummary]:
    """Read the events of one file, without converting timestamps to numbers.

    Args:
        file: see `read_interactions`.
        columns: "user", "item", "time" and "rating" -> the column's name; the last two may be left out.
        named_by_option: see `read_columns`. Default: True.
        reading: see `read_interactions`. Default: None, `Reading()`.

    Returns:
        `user_id` String, `item_id` String, and `timestamp` as `parse_timestamps` returns it, without nulls; without
        times, the numbers of the rows. And what was read.

    Raises:
        InputError: see `read_interactions`.
    """
    reading = reading or Reading()
    layout = layout_of(file, columns, reading, named_by_option=named_by_option)
    raw = read_columns(file, columns, named_by_option=named_by_option, layout=layout, reading=reading)
    columns = {role: name for role, name in columns.items() if name in raw.columns}
    kind = "events" if layout is None else layout.kind
    if reading.min_rating is not None and "rating" not in columns:
        raise InputError(f"{file}: the layout {kind} has no ratings. Leave --min-rating out.")
    table, dropped = _checked(file, raw, columns, reading, layout)
    note = None if layout is None else layout.note
    if "time" not in columns and NO_TIME not in (note or ""):
        note = NO_TIME if note is None else f"{note}; {NO_TIME}"
    return table, FileSummary(raw.height, "time" in columns, note, kind, dropped)


def _checked(
    file: Path | None, raw: pl.DataFrame, columns: Mapping[str, str], reading: Reading, layout: Layout | None = None
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Convert the columns of a file, or of a table if `file` is None, to events; refuse the first bad row.

    Return the events that are not left out, and the numbers of those that are.
    """
    source = "The table" if file is None else str(file)
    dropped = {}
    n_rows = raw.height
    table = pl.DataFrame({f"{role}_id": as_ids(source, raw[columns[role]]) for role in ("user", "item")})
    if reading.drop_missing:
        is_missing = [is_blank(pl.col(name)) | pl.col(name).str.strip_chars().is_in(_MISSING) for name in table.columns]
        is_kept = table.select(~pl.any_horizontal(is_missing)).to_series()
        raw, table = raw.filter(is_kept), table.filter(is_kept)
        dropped["missing_ids_dropped"] = n_rows - raw.height
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
    else:
        table = with_row_numbers(table)
    if "rating" in columns:
        table = table.with_columns(rating=raw[columns["rating"]].cast(pl.Float64, strict=False))
        bad["rating"] = pl.col("rating").is_null() | pl.col("rating").is_nan()
    # The index of each column's first bad row, null if there is none.
    first_bad = table.select(pl.arg_where(mask).first().alias(role) for role, mask in bad.items())
    found = [(index, role) for role, index in first_bad.row(0, named=True).items() if index is not None]
    if found:
        index, role = min(found)
        row = raw["row"][index]
        place = f"The table, row {row}" if file is None else f"{file}, {row_place(file, row, layout)}"
        problem = _problem(role, raw[columns[role]][index])
        if role in ("user", "item") and problem.startswith("is empty"):
            problem += " `prepare` with --drop-missing leaves such rows out." if file is not None else ""
        raise InputError(f"{place}: the {columns[role]} {problem}")
    if "rating" in columns:
        n_before = table.height
        table = table.filter(pl.col("rating") >= reading.min_rating).drop("rating")
        dropped["below_min_rating_dropped"] = n_before - table.height
    if table.is_empty():
        left_out = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in dropped.items())
        raise InputError(f"{source}: no events are left of {n_rows:,}: {left_out}.")
    return table, dropped


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
    if role == "rating":
        return f"{shown} is not a number. Correct the row, or leave --min-rating out."
    return f"{shown} contains a {'NUL character' if chr(0) in text else 'line break'}. Remove it."
