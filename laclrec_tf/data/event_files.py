"""Read named columns from files: CSV, other text and JSON Lines, each also gzipped, and Parquet, also partitioned."""

from __future__ import annotations

import difflib
import glob
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import polars as pl

from laclrec_tf.data.formats.json_lines import json_names, json_place, read_json
from laclrec_tf.data.formats.layouts import Layout, Reading, first_two_lines, not_understood, recognise
from laclrec_tf.data.formats.text_tables import damaged_row, read_history_lines, read_text_table, text_place
from laclrec_tf.errors import InputError
from laclrec_tf.files import decoded_text, text_source

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
RECOGNISED = (".inter", ".item", ".dat", ".data", ".txt")  # text of any separator, with or without a header
FORMATS = (*SEPARATORS, *JSON_LINES, ".parquet", *RECOGNISED)
_UNREADABLE = (pl.exceptions.PolarsError, OSError, EOFError, zlib.error)


def files_of(sources: Iterable[str | Path]) -> list[Path]:
    """List the files that paths, folders and patterns name.

    Args:
        sources: files; folders, which stand for all Parquet files below them; and patterns such as `events/*.parquet`.
            An existing file is never a pattern.

    Returns:
        The files, those of a folder or a pattern in sorted order. Names below a folder that start with `.` or `_` are
        left out.

    Raises:
        InputError: nothing matches a pattern, or a folder has no Parquet file.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found = (file for file in source.rglob("*.parquet") if not is_hidden(str(file.relative_to(source))))
            below = sorted((file for file in found if file.is_file()), key=str)
            if not below:
                raise InputError(f"{source} is a folder. Name the files in it.")
            files += below
        elif glob.has_magic(str(source)) and not source.exists():
            matching = sorted(glob.glob(str(source), recursive=True))
            if not matching:
                raise InputError(f"{source} does not exist. Check the path.")
            files += [file for each in matching for file in (files_of([each]) if Path(each).is_dir() else [Path(each)])]
        else:
            files.append(source)
    return files


def is_hidden(path: str) -> bool:
    """Return whether a part of a relative path starts with `.` or `_`, as the notes of Spark and Delta do."""
    return any(part.startswith((".", "_")) for part in path.split("/"))


def layout_of(
    file: Path, columns: Mapping[str, str], reading: Reading | None, *, named_by_option: bool = True
) -> Layout | None:
    """Return the layout of a text file, None for JSON and Parquet.

    Args:
        file: the file.
        columns: see `read_columns`.
        reading: see `read_columns`.
        named_by_option: see `read_columns`. Default: True.

    Raises:
        InputError: the file is missing, empty, damaged or of an unknown format, its layout is not clear, or `reading`
            says something that its format does not have.
    """
    extension = format_of(file)
    separator = SEPARATORS.get(extension)
    if extension in JSON_LINES or extension == ".parquet":
        if reading is not None and (reading.separator or reading.header is False or reading.layout):
            raise InputError(
                f"{file}: a separator, a missing header and a layout are for text, and {extension} has none of them. "
                "Leave these options out."
            )
        return None
    if separator is not None and reading is None:
        return Layout(separator)
    reading = reading or Reading()
    is_told = reading.separator or reading.header is False or reading.layout
    layout = recognise(file, extension, columns, reading, separator)
    if layout is not None:
        return layout
    if separator is not None and not is_told:
        return Layout(separator)  # its error names the columns of the header
    raise InputError(not_understood(file, columns, reading, named_by_option))


def read_columns(
    file: Path,
    columns: Mapping[str, str],
    *,
    optional: Collection[str] = (),
    named_by_option: bool = True,
    reading: Reading | None = None,
    layout: Layout | None = None,
) -> pl.DataFrame:
    """Read named columns of one file.

    Columns of text files are read as text, so that `007` stays `007`; columns of Parquet keep their types. Values of
    other columns do not matter: in JSON they may also be NaN, which is strictly no JSON. A column that a Parquet file
    lacks may be in its path, such as `date=2024-05-31/part-0.parquet`; it is text.

    Args:
        file: a file with one of the extensions in `FORMATS`; all but `.parquet` may be gzipped, such as `.csv.gz`.
        columns: the role of each column -> its name in the file, such as `{"user": "user_id"}`.
        optional: roles of columns that the file may lack. They are left out then. Default: none.
        named_by_option: an error suggests the command-line option `--ROLE-column`. Default: True.
        reading: what is known about text; what is not is recognised. Default: None, a `.csv` or `.tsv` file has a
            header and the separator of its extension.
        layout: the result of `layout_of`, if it is known. Default: None.

    Returns:
        The columns in the order of `columns`, then `row`: the row's number in the file, from 1. Blank lines of text,
        and rows without a value in any of the columns, are counted but left out. Lists of items have a row for each
        item, and `row` is the number of the line. Times are left out if the layout has none.

    Raises:
        InputError: the file is missing, damaged, empty, not understood or of an unknown format, a column is missing or
            occurs twice, also in one row of JSON, or an id in JSON is neither text nor an integer.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = file.write_text("who,what\\n007,tent\\n")
        >>> read_columns(file, {"user": "who"}).rows()
        [('007', 1)]
    """
    extension = format_of(file)
    layout = layout or layout_of(file, columns, reading, named_by_option=named_by_option)
    names = list(columns.values())
    try:
        source = _source(file)
        if extension in JSON_LINES:
            table, found = read_json(file, source, columns), names
            if not table.is_empty() and any(column.null_count() == table.height for column in table):
                found = json_names(file)
                _check_columns(file, found, columns, optional, named_by_option)
            names = [name for name in names if name in found]
        elif layout is None:
            found, in_path = list(pl.read_parquet_schema(source)), _hive_names(file)
            is_partitioned = any(name in in_path and name not in found for name in names)
            found += [name for name in in_path if name not in found]
            _check_columns(file, found, columns, optional, named_by_option)
            names = [name for name in names if name in found]
            schema = dict.fromkeys(in_path, pl.String) if is_partitioned else None
            table = pl.read_parquet(source, columns=names, hive_partitioning=is_partitioned, hive_schema=schema)
        elif layout.kind != "events":
            table = read_history_lines(source, columns["user"], columns["item"], layout)
            if table.is_empty():
                raise InputError(
                    f"{file} has no line of a user and an item. If a line is only items, give --layout item-lists."
                    if layout.kind == "histories"
                    else f"{file} contains no rows. It must contain at least one."
                )
            return table
        else:
            if not layout.has_header:
                optional = (*optional, "time")  # the layout says whether there are times

            def check(found: list[str]) -> None:
                _check_columns(file, found, columns, optional, named_by_option, layout)

            table = read_text_table(file, source, names, layout, check)
            names = [name for name in names if name in table.columns]
    except pl.exceptions.NoDataError:
        raise InputError(f"{file} is empty. It must contain a header and at least one row.") from None
    except _UNREADABLE as error:
        if not isinstance(error, (OSError, EOFError, zlib.error)):
            _check_separator(file, len(columns), layout)
        raise InputError(f"{file}: {_damage(file, extension, layout, error)}") from None
    table = table.select(names).with_row_index("row", offset=1)
    if layout is not None:
        table = table.filter(pl.any_horizontal(pl.col(*names).is_not_null()))
    if table.is_empty():
        raise InputError(f"{file} contains no rows. It must contain at least one.")
    return table.select(*names, "row")


def format_of(file: Path) -> str:
    """Return the format of a file, by its extension.

    Args:
        file: an existing file.

    Returns:
        One of `FORMATS`; `.csv` for `.csv.gz`, for example.

    Raises:
        InputError: the file does not exist, is a folder, or has an unknown extension.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder. Name the files in it.")
    if not file.exists():
        raise InputError(f"{file} does not exist. Check the path.")
    extension = (file.with_suffix("") if _is_gzipped(file) else file).suffix.lower()
    if extension not in FORMATS or (extension == ".parquet" and _is_gzipped(file)):
        raise InputError(f"{file}: unknown extension. Known: {', '.join(FORMATS)}; all but .parquet also with .gz.")
    return extension


def as_ids(source: object, values: pl.Series) -> pl.Series:
    """Convert a column of ids to text; integers become their decimal digits.

    Args:
        source: the file or the table that has the column, for the message.
        values: the column.

    Returns:
        The column as String.

    Raises:
        InputError: the column contains neither text nor integers; the message names the first row without an id if
            that made integers floats.

    Example:
        >>> as_ids("events.parquet", pl.Series("item_id", [7])).to_list()
        ['7']
    """
    dtype = values.dtype
    if dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return values.cast(pl.String)
    if dtype.is_float() and (missing := values.is_null() | values.is_nan()).any():
        raise InputError(
            f"{source}, row {missing.arg_true()[0] + 1}: the {values.name} is empty, so its column holds ids of type "
            f"{dtype}, such as 7.0 for 7. Fill it in or remove the row, and write ids as text or as integers."
        )
    raise InputError(f"{source}: column {values.name!r} holds ids of type {dtype}. Write them as text or as integers.")


def is_blank(ids: pl.Expr) -> pl.Expr:
    """Return an expression that is True where an id is missing, empty or white space only."""
    return ids.is_null() | ids.str.contains(r"^\s*$")


def row_place(file: Path, row: int, layout: Layout | None = None) -> str:
    """Name the place of a row for a message, such as `row 17 (line 18)`.

    Args:
        file: a file of any format that `read_columns` reads.
        row: the row's number; the first row of data is 1.
        layout: the result of `layout_of`. Default: None, a header and the separator of the extension.

    Returns:
        The text, without a line for `.parquet`.
    """
    extension = format_of(file)
    if extension == ".parquet":
        return f"row {row}"
    if extension in JSON_LINES:
        return json_place(file, row)
    return text_place(file, row, layout or Layout(SEPARATORS.get(extension, ",")))


def _hive_names(file: Path) -> list[str]:
    """Return the names of columns in the path of a file, such as `date` in `date=2024-05-31/part-0.parquet`."""
    return [part.partition("=")[0] for part in file.parts[:-1] if "=" in part]


def _check_columns(
    file: Path,
    found: list[str],
    columns: Mapping[str, str],
    optional: Collection[str],
    named_by_option: bool,
    layout: Layout | None = None,
) -> None:
    for role, name in columns.items():
        if found.count(name) == 1 or (role in optional and name not in found):
            continue
        if name in found:
            raise InputError(
                f"{file}: the column {name!r} occurs {found.count(name)} times. Rename or remove the others."
            )
        lowered = {column.lower(): column for column in found}
        close = difflib.get_close_matches(name.lower(), lowered, n=1)
        option = f"--{role}-column " if named_by_option else ""
        hint = f" Did you mean {option}{lowered[close[0]]}?" if close else ""
        _check_separator(file, len(columns), layout)
        shown = ", ".join(repr(column) for column in found[:20]) + (", ..." if len(found) > 20 else "")
        remedy = f"Choose one with --{role}-column" if named_by_option else "Rename the column"
        if role in ("title", "title-item"):
            remedy = f"Rename the column. Or choose one with --{role}-column"
        if named_by_option and role == "time":
            remedy += ", or `prepare` with --no-time for the order of the rows"
        if named_by_option and layout is not None and not set(columns.values()) & set(found):
            remedy += "; if the first line is no header, "
            remedy += "`prepare` with --no-header" if "user" in columns else f"--{role}-column has the column's number"
            remedy += f". First lines: {first_two_lines(file)}"
        remedy += "."
        raise InputError(f"{file}: no column {name!r}.{hint} Columns found: {shown}. {remedy}")


def _check_separator(file: Path, n_columns: int, layout: Layout | None) -> None:
    """Name the separator that a file seems to have, if its header is one column, and Excel's note of a separator."""
    extension = format_of(file)
    if extension not in SEPARATORS or layout is None or layout.separator != SEPARATORS[extension]:
        return
    with decoded_text(file) as text:
        header = text.readline().rstrip("\r\n")
    if re.fullmatch('"?sep=.?"?', header, re.IGNORECASE):
        raise InputError(f"{file}, line 1: {header!r} is Excel's note of the separator, not a header. Remove the line.")
    if SEPARATORS[extension] in header or n_columns < 2:
        return
    header = header.replace('"', "")
    likely = next((other for other in (";", "\t", "|", ",") if header.count(other) >= n_columns - 1), None)
    if likely is not None:
        remedy = (
            "Name it .tsv" if likely == "\t" else "Name it .csv" if likely == "," else "Save it with commas as .csv"
        )
        raise InputError(
            f"{file}: the header has one column, {header[:60]!r}. Its separator seems to be {likely!r}, but the "
            f"separator of {extension} is {SEPARATORS[extension]!r}. {remedy}."
        )


def _damage(file: Path, extension: str, layout: Layout | None, error: Exception) -> str:
    """Describe what is wrong with a file that could not be read, with its place and the remedy."""
    if isinstance(error, (EOFError, zlib.error)) or (isinstance(error, OSError) and error.errno is None):
        return "the gzip content is damaged or truncated. Copy or compress the file again."
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}."
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if extension == ".parquet":
        return f"not a complete Parquet file ({reason}). Copy or write the file again."
    place = None if layout is None else damaged_row(file, layout)
    if place is not None:
        return place
    return f"cannot be read as {extension} ({reason}). Check the format."


def _source(file: Path) -> Path | bytes:
    """Return what polars reads: the path, or the content of a text file that is compressed or has a byte order mark."""
    source = file if file.suffix.lower() == ".parquet" else text_source(file)
    # Polars reads a path as a pattern, so its special characters are escaped.
    return Path(glob.escape(str(source))) if isinstance(source, Path) else source


def _is_gzipped(file: Path) -> bool:
    return file.suffix.lower() == ".gz"
