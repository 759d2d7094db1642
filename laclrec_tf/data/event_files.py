"""Read named columns from files: CSV, TSV and JSON Lines, each also gzipped, and Parquet."""

from __future__ import annotations

import csv
import difflib
import glob
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO

import polars as pl

from laclrec_tf.errors import InputError
from laclrec_tf.files import open_text, text_source

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
FORMATS = (*SEPARATORS, *JSON_LINES, ".parquet")
# Columns that are not ids; in JSON they may be any number.
_NUMBERS = ("time", "weight")
_UNREADABLE = (pl.exceptions.PolarsError, OSError, EOFError, zlib.error)


def read_columns(file: Path, columns: Mapping[str, str], *, named_by_option: bool = True) -> pl.DataFrame:
    """Read named columns of one file.

    Columns of text files are read as text, so that `007` stays `007`; columns of Parquet keep their types.

    Args:
        file: a file with one of the extensions in `FORMATS`; all but `.parquet` may be gzipped, such as `.csv.gz`.
        columns: the role of each column -> its name in the file, such as `{"user": "user_id"}`.
        named_by_option: an error suggests the command-line option `--ROLE-column`. Default: True.

    Returns:
        The columns in the order of `columns`, then `row`: the row's number in the file, from 1. Blank lines of a CSV or
        TSV file, and rows without a value in any of the columns, are counted but left out.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown format, a column is missing or occurs twice,
            or an id in JSON is neither text nor an integer.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = file.write_text("who,what\\n007,tent\\n")
        >>> read_columns(file, {"user": "who"}).rows()
        [('007', 1)]
    """
    extension = format_of(file)
    names = list(columns.values())
    try:
        source = _source(file)
        if extension in JSON_LINES:
            # With a schema of text all digits of a number are read: no integer becomes a float on the way.
            table = pl.read_ndjson(source, schema=dict.fromkeys(names, pl.String))
            if not table.is_empty() and any(column.null_count() == table.height for column in table):
                _check_columns(file, _columns_found(source, extension), columns, named_by_option)
            _check_json_ids(file, source, [name for role, name in columns.items() if role not in _NUMBERS])
        else:
            _check_columns(file, _columns_found(source, extension), columns, named_by_option)
            if extension in SEPARATORS:
                table = pl.read_csv(source, separator=SEPARATORS[extension], infer_schema=False, columns=names)
            else:
                table = pl.read_parquet(source, columns=names)
    except pl.exceptions.NoDataError:
        raise InputError(f"{file} is empty. It must contain a header and at least one row.") from None
    except _UNREADABLE as error:
        raise InputError(f"{file}: {_damage(file, extension, error)}") from None
    table = table.select(names).with_row_index("row", offset=1)
    if extension in SEPARATORS:
        table = table.filter(pl.any_horizontal(pl.col(*names).is_not_null()))
    if table.is_empty():
        raise InputError(f"{file} contains no rows. It must contain at least one.")
    return table.select(*names, "row")


def has_column(file: Path, name: str) -> bool:
    """Return whether a file has a column; of JSON Lines only the first 1,000 rows are read.

    Args:
        file: a file of any format that `read_columns` reads.
        name: the column's name.

    Returns:
        True if the file has the column; also False for a damaged file, which `read_columns` rejects.
    """
    extension = format_of(file)
    try:
        return name in _columns_found(_source(file), extension)
    except _UNREADABLE:
        return False


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
        raise InputError(f"{file}: unknown extension. Known: {', '.join(FORMATS)}; all but the last also with .gz.")
    return extension


def as_ids(source: object, values: pl.Series) -> pl.Series:
    """Convert a column of ids to text; integers become their decimal digits.

    Args:
        source: the file or the table that has the column, for the message.
        values: the column.

    Returns:
        The column as String.

    Raises:
        InputError: the column contains neither text nor integers.

    Example:
        >>> as_ids("events.parquet", pl.Series("item_id", [7])).to_list()
        ['7']
    """
    dtype = values.dtype
    if dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return values.cast(pl.String)
    raise InputError(f"{source}: column {values.name!r} holds ids of type {dtype}. Write them as text or as integers.")


def is_blank(ids: pl.Expr) -> pl.Expr:
    """Return an expression that is True where an id is missing, empty or white space only."""
    return ids.is_null() | ids.str.contains(r"^\s*$")


def row_place(file: Path, row: int) -> str:
    """Name the place of a row for a message, such as `row 17 (line 18)`.

    Args:
        file: a file of any format that `read_columns` reads.
        row: the row's number; the first row of data is 1.

    Returns:
        The text, without a line for `.parquet`.
    """
    extension = format_of(file)
    line = None
    if extension in SEPARATORS:
        with _decoded(file) as text:
            reader = csv.reader(text, delimiter=SEPARATORS[extension])
            try:
                next(islice(reader, row - 1, row), None)  # fields of the rows before may contain line breaks
                line = reader.line_num + 1
            except csv.Error:
                line = None
    elif extension in JSON_LINES:
        with _decoded(file) as text:
            filled = (number for number, content in enumerate(text, start=1) if content.strip())
            line = next(islice(filled, row - 1, row), None)
    return f"row {row}" if line is None else f"row {row} (line {line})"


def _columns_found(source: Path | bytes, extension: str) -> list[str]:
    if extension == ".parquet":
        return list(pl.read_parquet_schema(source))
    if extension in JSON_LINES:
        return pl.read_ndjson(source, infer_schema_length=1000).columns
    # Read as a row: as a header, polars would rename columns that occur twice.
    separator = SEPARATORS[extension]
    header = pl.read_csv(source, separator=separator, has_header=False, infer_schema=False, n_rows=1)
    return [name or "" for name in header.row(0)]


def _check_columns(file: Path, found: list[str], columns: Mapping[str, str], named_by_option: bool) -> None:
    for role, name in columns.items():
        if found.count(name) == 1:
            continue
        if name in found:
            raise InputError(
                f"{file}: the column {name!r} occurs {found.count(name)} times. Rename or remove the others."
            )
        lowered = {column.lower(): column for column in found}
        close = difflib.get_close_matches(name.lower(), lowered, n=1)
        option = f"--{role}-column " if named_by_option else ""
        hint = f" Did you mean {option}{lowered[close[0]]}?" if close else ""
        _check_separator(file, found, len(columns))
        shown = ", ".join(repr(column) for column in found[:20]) + (", ..." if len(found) > 20 else "")
        remedy = f"Choose one with --{role}-column." if named_by_option else "Rename the column."
        raise InputError(f"{file}: no column {name!r}.{hint} Columns found: {shown}. {remedy}")


def _check_separator(file: Path, found: list[str], n_columns: int) -> None:
    """Name the separator that a file seems to have, if its header was read as one column."""
    extension = format_of(file)
    if extension not in SEPARATORS or len(found) != 1 or n_columns < 2:
        return
    likely = next((other for other in (";", "\t", "|", ",") if found[0].count(other) >= n_columns - 1), None)
    if likely is not None:
        remedy = (
            "Name it .tsv" if likely == "\t" else "Name it .csv" if likely == "," else "Save it with commas as .csv"
        )
        raise InputError(
            f"{file}: the header has one column, {found[0][:60]!r}. Its separator seems to be {likely!r}, but the "
            f"separator of {extension} is {SEPARATORS[extension]!r}. {remedy}."
        )


def _check_json_ids(file: Path, source: Path | bytes, names: Sequence[str]) -> None:
    """Refuse ids that are neither text nor integers: read as text, an object would become an id, and 1.0 become 1.

    Half a surrogate pair is refused too: polars reads it as a NUL.
    """
    lines = pl.read_lines(source).to_series()
    lines = lines.filter(lines.str.strip_chars() != "")
    for name in names:
        key = f'"{pl.escape_regex(name)}"\\s*:\\s*'
        doubtful = lines.str.count_matches(key) != lines.str.count_matches(key + r'(?:"|null\b|-?\d+\s*[,}])')
        doubtful |= lines.str.contains(r"\\u[dD][89a-fA-F]")
        for row in doubtful.arg_true():  # the key may be part of another value, so parse the line
            value = json.loads(lines[row]).get(name)
            if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
                raise InputError(
                    f"{file}, {row_place(file, row + 1)}: the {name} {json.dumps(value)[:60]} has half a surrogate "
                    "pair, which is no character. Correct the row."
                )
            if isinstance(value, (float, bool, dict, list)):
                raise InputError(
                    f"{file}, {row_place(file, row + 1)}: the {name} {json.dumps(value)[:60]} is neither text nor an "
                    "integer. Write ids as text or as integers."
                )


def _damage(file: Path, extension: str, error: Exception) -> str:
    """Describe what is wrong with a file that could not be read, with its place and the remedy."""
    if isinstance(error, (EOFError, zlib.error)) or (isinstance(error, OSError) and error.errno is None):
        return "the gzip content is damaged or truncated. Copy or compress the file again."
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}."
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if extension == ".parquet":
        return f"not a complete Parquet file ({reason}). Copy or write the file again."
    with _decoded(file) as text:
        found = _bad_json(text) if extension in JSON_LINES else _bad_delimited(text, SEPARATORS[extension])
        for place, problem in found:
            remedy = "Save the file as UTF-8" if problem.endswith("UTF-8 text") else "Correct the row"
            return f"{place} {problem}. {remedy}."
    return f"cannot be read as {extension} ({reason}). Check the format."


def _bad_json(text: IO[str]) -> Iterator[tuple[str, str]]:
    filled = ((line, content) for line, content in enumerate(text, start=1) if content.strip())
    for row, (line, content) in enumerate(filled, start=1):
        place = f"row {row} (line {line})"
        if "\ufffd" in content:
            yield place, "is not UTF-8 text"
        try:
            value = json.loads(content, parse_constant=_no_json)
        except _NoJson as error:
            yield place, f"contains {error}, which is not JSON; write null for a missing value"
        except ValueError:
            yield place, "is not JSON"
        else:
            if not isinstance(value, dict):
                yield place, "is not a JSON object"


class _NoJson(ValueError):
    """A name that Python's parser takes for a number, although JSON has no such number."""


def _no_json(name: str) -> None:
    raise _NoJson(name)


def _bad_delimited(text: IO[str], separator: str) -> Iterator[tuple[str, str]]:
    reader = csv.reader(text, delimiter=separator, strict=True)
    open_quote = "has a quote that is not closed (inside a quoted field, double it)"
    row, width = 0, 0
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
        if any("\ufffd" in field for field in fields):
            yield place, "is not UTF-8 text"
        if any(field.count('"') % 2 for field in fields):  # Python's reader accepts a quote inside an unquoted field
            yield place, open_quote
        if len(fields) > width:
            yield place, f"has {len(fields)} fields, but the header has {width}"
        row += 1


def _source(file: Path) -> Path | bytes:
    """Return what polars reads: the path, or the content of a text file that is compressed or has a byte order mark."""
    source = file if file.suffix.lower() == ".parquet" else text_source(file)
    # Polars reads a path as a pattern, so its special characters are escaped.
    return Path(glob.escape(str(source))) if isinstance(source, Path) else source


@contextmanager
def _decoded(file: Path) -> Iterator[IO[str]]:
    """Open a file's text for the block; bytes that are not UTF-8 become U+FFFD."""
    with open_text(file) as content, TextIOWrapper(content, "utf-8", errors="replace", newline="") as text:
        yield text


def _is_gzipped(file: Path) -> bool:
    return file.suffix.lower() == ".gz"
