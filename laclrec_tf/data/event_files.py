"""Read named columns from files: CSV, TSV and JSON Lines, each also gzipped, and Parquet."""

from __future__ import annotations

import csv
import difflib
import glob
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any

import polars as pl

from laclrec_tf.errors import InputError
from laclrec_tf.files import HALF_PAIR, open_text, text_source

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
FORMATS = (*SEPARATORS, *JSON_LINES, ".parquet")
# Columns that are not ids; in JSON they may be any number.
_NUMBERS = ("time", "weight")
_UNREADABLE = (pl.exceptions.PolarsError, OSError, EOFError, zlib.error)
# In JSON, half a surrogate pair, which polars reads as a NUL, or a name with an escaped character.
_DOUBTFUL = r'\\u[dD][89a-fA-F]|\\[^"]*"\s*:'


def read_columns(
    file: Path, columns: Mapping[str, str], *, optional: Collection[str] = (), named_by_option: bool = True
) -> pl.DataFrame:
    """Read named columns of one file.

    Columns of text files are read as text, so that `007` stays `007`; columns of Parquet keep their types. Values of
    other columns do not matter: in JSON they may also be NaN, which is strictly no JSON.

    Args:
        file: a file with one of the extensions in `FORMATS`; all but `.parquet` may be gzipped, such as `.csv.gz`.
        columns: the role of each column -> its name in the file, such as `{"user": "user_id"}`.
        optional: roles of columns that the file may lack. They are left out then. Default: none.
        named_by_option: an error suggests the command-line option `--ROLE-column`. Default: True.

    Returns:
        The columns in the order of `columns`, then `row`: the row's number in the file, from 1. Blank lines of a CSV or
        TSV file, and rows without a value in any of the columns, are counted but left out.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown format, a column is missing or occurs twice,
            also in one row of JSON, or an id in JSON is neither text nor an integer.

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
            table, found = _read_json(file, source, columns), names
            if not table.is_empty() and any(column.null_count() == table.height for column in table):
                rows = (_json_row(file, row, line) for row, line in _json_lines(file))
                found = list(dict.fromkeys(name for values in rows for name in values))
                _check_columns(file, found, columns, optional, named_by_option)
            names = [name for name in names if name in found]
        else:
            found = _columns_found(source, extension)
            _check_columns(file, found, columns, optional, named_by_option)
            names = [name for name in names if name in found]
            if extension in SEPARATORS:
                table = pl.read_csv(source, separator=SEPARATORS[extension], infer_schema=False, columns=names)
            else:
                table = pl.read_parquet(source, columns=names)
    except pl.exceptions.NoDataError:
        raise InputError(f"{file} is empty. It must contain a header and at least one row.") from None
    except _UNREADABLE as error:
        if not isinstance(error, (OSError, EOFError, zlib.error)):
            _check_separator(file, len(columns))
        raise InputError(f"{file}: {_damage(file, extension, error)}") from None
    table = table.select(names).with_row_index("row", offset=1)
    if extension in SEPARATORS:
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
        with _decoded(file, newline="\n") as text:
            filled = (number for number, content in enumerate(text, start=1) if content.strip())
            line = next(islice(filled, row - 1, row), None)
    return f"row {row}" if line is None else f"row {row} (line {line})"


def _columns_found(source: Path | bytes, extension: str) -> list[str]:
    if extension == ".parquet":
        return list(pl.read_parquet_schema(source))
    # Read as a row: as a header, polars would rename columns that occur twice.
    separator = SEPARATORS[extension]
    header = pl.read_csv(source, separator=separator, has_header=False, infer_schema=False, n_rows=1)
    return [name or "" for name in header.row(0)]


def _check_columns(
    file: Path, found: list[str], columns: Mapping[str, str], optional: Collection[str], named_by_option: bool
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
        _check_separator(file, len(columns))
        shown = ", ".join(repr(column) for column in found[:20]) + (", ..." if len(found) > 20 else "")
        remedy = f"Choose one with --{role}-column." if named_by_option else "Rename the column."
        raise InputError(f"{file}: no column {name!r}.{hint} Columns found: {shown}. {remedy}")


def _check_separator(file: Path, n_columns: int) -> None:
    """Name the separator that a file seems to have, if its header is one column, and Excel's note of a separator."""
    extension = format_of(file)
    if extension not in SEPARATORS:
        return
    with _decoded(file) as text:
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


def _read_json(file: Path, source: Path | bytes, columns: Mapping[str, str]) -> pl.DataFrame:
    """Read columns of JSON Lines by polars; Python reads a file that polars refuses, and checks doubtful rows.

    Polars refuses a file for a number or a text that it cannot hold, also in columns that are not needed. It takes the
    first of two values of one name, half a surrogate pair for a NUL, and any value for text.
    """
    schema = dict.fromkeys(columns.values(), pl.String)
    try:
        # With a schema of text all digits of a number are read: no integer becomes a float on the way.
        table = pl.read_ndjson(source, schema=schema)
        lines = pl.read_lines(source).to_series()
    except pl.exceptions.PolarsError:
        rows = (_json_row(file, row, line, columns) for row, line in _json_lines(file))
        texts = [[_as_text(values.get(name)) for name in schema] for values in rows]
        return pl.DataFrame(texts, schema, orient="row")
    lines = lines.filter(lines.str.strip_chars() != "")
    doubtful = lines.str.contains(_DOUBTFUL)
    for role, name in columns.items():
        key = f'"{pl.escape_regex(name)}"\\s*:\\s*'
        n_found = lines.str.count_matches(key)
        doubtful |= n_found > 1  # the key may also be part of another value
        if role not in _NUMBERS:
            doubtful |= n_found != lines.str.count_matches(key + r'(?:"|null\b|-?\d+\s*[,}])')
    for index in doubtful.arg_true():
        _json_row(file, index + 1, lines[index], columns)
    return table


def _json_lines(file: Path) -> Iterator[tuple[int, str]]:
    with _decoded(file, newline="\n") as text:
        yield from enumerate((line for line in text if line.strip()), start=1)


class _Object(dict[str, Any]):
    """An object of JSON, and the names that it has more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        repeated = len(self) < len(pairs)
        self.repeated = {name for name, n in Counter(name for name, _ in pairs).items() if n > 1} if repeated else set()


_JSON = json.JSONDecoder(object_pairs_hook=_Object)


def _json_row(file: Path, row: int, line: str, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Parse a row of JSON Lines; refuse a needed name that occurs twice, and ids that are neither text nor integers."""
    values, problem = None, "is not JSON. Correct the row"
    if HALF_PAIR.search(line):
        problem = "is not UTF-8 text. Save the file as UTF-8"
    else:
        with suppress(ValueError, RecursionError):
            values, problem = _JSON.decode(line), "is not a JSON object. Correct the row"
    if not isinstance(values, _Object):
        raise InputError(f"{file}: {row_place(file, row)} {problem}.")
    for role, name in (columns or {}).items():
        value, wrong = values.get(name), None
        if isinstance(value, str) and HALF_PAIR.search(value):
            wrong = f"{json.dumps(value)[:60]} has half a surrogate pair, which is no character. Correct the row"
        elif role not in _NUMBERS and isinstance(value, (float, bool, dict, list)):
            wrong = f"{json.dumps(value)[:60]} is neither text nor an integer. Write ids as text or as integers"
        elif name in values.repeated:
            wrong = "occurs twice. Remove one of them"
        if wrong is not None:
            raise InputError(f"{file}, {row_place(file, row)}: the {name} {wrong}.")
    return values


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)


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
        for place, problem in _bad_delimited(text, SEPARATORS[extension]):
            remedy = "Save the file as UTF-8" if problem.endswith("UTF-8 text") else "Correct the row"
            return f"{place} {problem}. {remedy}."
    return f"cannot be read as {extension} ({reason}). Check the format."


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
        if any(map(HALF_PAIR.search, fields)):
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
def _decoded(file: Path, newline: str = "") -> Iterator[IO[str]]:
    """Open a file's text for the block; bytes that are not UTF-8 become half surrogate pairs."""
    with open_text(file) as content, TextIOWrapper(content, "utf-8", "surrogateescape", newline) as text:
        yield text


def _is_gzipped(file: Path) -> bool:
    return file.suffix.lower() == ".gz"
