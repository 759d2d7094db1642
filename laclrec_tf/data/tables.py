"""Recognise tables of pandas, polars and pyarrow, read named columns of them, and write tables to files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import narwhals as nw
import polars as pl
from narwhals.dependencies import is_into_dataframe

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.files import HALF_PAIR
from laclrec_tf.runtime.output_files import atomic_write


def is_table(value: object) -> bool:
    """Return whether a value is a table in memory of pandas, polars or pyarrow.

    Args:
        value: any value.

    Returns:
        True for a table; False for a `polars.LazyFrame`, which has no rows yet.

    Example:
        >>> is_table(pl.DataFrame({"item_id": ["tent"]})), is_table(["tent"]), is_table("events.csv")
        (True, False, False)
    """
    return is_into_dataframe(value)


def table_columns(table: Any, columns: Mapping[str, str]) -> pl.DataFrame:
    """Read named columns of a table.

    pandas and pyarrow do not have to be installed, and pandas works without pyarrow.

    Args:
        table: a table of pandas, polars or pyarrow.
        columns: the argument that names each column -> the column's name, such as `{"user_column": "user_id"}`.

    Returns:
        The columns in the order of `columns`, with their own types; dates and times in UTC. Missing values are null.

    Raises:
        InputError: a column is missing or occurs twice, or its values have different types.

    Example:
        >>> table_columns(pl.DataFrame({"who": ["ann"], "what": [7]}), {"item_column": "what"}).rows()
        [(7,)]
    """
    frame = eager_frame(table, columns)
    return pl.DataFrame([_as_polars(frame.get_column(name)) for name in columns.values()])


def eager_frame(table: Any, columns: Mapping[str, str]) -> nw.DataFrame[Any]:
    """Wrap a table for narwhals, and check that it has the named columns.

    Args:
        table: a table of pandas, polars or pyarrow.
        columns: see `table_columns`.

    Raises:
        InputError: a column is missing or occurs twice.
    """
    names = [str(name) for name in getattr(table, "column_names", getattr(table, "columns", ()))]
    for argument, name in columns.items():
        if names.count(name) > 1:
            raise InputError(f"The table has {names.count(name)} columns {name!r}. Rename or remove the others.")
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {argument}={close[0]!r}?" if close else ""
            raise InputError(
                f"The table has no column {name!r}.{hint} Columns found: {', '.join(map(repr, names[:20]))}. "
                f"Name the right one with `{argument}`."
            )
    return nw.from_native(table, eager_only=True)


def _as_polars(column: nw.Series[Any]) -> pl.Series:
    if isinstance(native := column.to_native(), pl.Series):
        return native
    dtype = column.dtype
    if isinstance(dtype, nw.Datetime):  # as numbers: Python's dates have no nanoseconds
        unit: Literal["us", "ns"] = "ns" if dtype.time_unit == "ns" else "us"
        is_missing = column.is_null()
        # Of the others alone: with a missing value pandas returns floats, which do not hold nanoseconds.
        numbers = iter(column.filter(~is_missing).dt.timestamp(unit).to_list())
        found = [None if missing else int(next(numbers)) for missing in is_missing.to_list()]
        return pl.Series(column.name, found, pl.Int64).cast(pl.Datetime(unit))
    values = _values(column)
    try:
        return pl.Series(column.name, values, strict=True)
    except UnicodeEncodeError:
        row = next(row for row, value in enumerate(values, start=1) if HALF_PAIR.search(str(value)))
        raise InputError(
            f"The table, row {row}: the {column.name} {values[row - 1]!r} has half a surrogate pair, which is no "
            "character. Correct the row."
        ) from None
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"The table's column {column.name!r} has values of different types, or integers of more than 64 bits. "
            "Write all as text, or all as numbers."
        ) from error


def _values(column: nw.Series[Any]) -> list[Any]:
    missing = column.is_null()
    if not missing.any():
        return column.to_list()
    return [None if null else value for value, null in zip(column.to_list(), missing.to_list(), strict=True)]


def output_files(out: str | Path, *suffixes: str, overwrite: bool = False) -> tuple[Path, ...]:
    """Return the files to write, after a check that they can be written.

    Args:
        out: the first file, with the extension `.csv` or `.parquet`, in an existing folder.
        *suffixes: suffixes of the files beside it, such as ".truth.csv".
        overwrite: allow existing files. Default: False.

    Returns:
        `out`, and for each suffix the file with that suffix instead of the extension.

    Raises:
        InputError: the extension is unknown, the folder is missing, or a file is a folder or exists.

    Example:
        >>> [file.name for file in output_files("no-events.csv", ".truth.csv")]
        ['no-events.csv', 'no-events.truth.csv']
    """
    out = Path(out)
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{out}: the name of the file to write must end in .csv or .parquet.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is not a folder. Create it first.")
    files = (out, *(out.with_name(f"{out.stem}{suffix}") for suffix in suffixes))
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder. Give another --out.")
        if file.exists() and not overwrite:
            raise InputError(f"{file} exists. Give another --out, or delete it first.")
    return files


def write_tables(tables: Mapping[Path, pl.DataFrame]) -> None:
    """Write tables as `.parquet`, or else as CSV. The files appear once all of them are written.

    Args:
        tables: file -> its table. A failure is reported for the first file.

    Raises:
        InputError: a file cannot be written.
    """
    try:
        with ExitStack() as stack:
            for file, table in tables.items():
                partial = stack.enter_context(atomic_write(file))
                if file.suffix.lower() == ".parquet":
                    table.write_parquet(partial)
                else:
                    table.write_csv(partial)
    except OSError as error:
        raise InputError(
            f"Cannot write {next(iter(tables))}: {reason_of(error)}. Choose a folder that can be written."
        ) from None
