"""Files of events: reading named columns, whatever the format."""

from __future__ import annotations

import csv
import difflib
import glob
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import polars as pl

from laclrec_tf.errors import InputError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_BOM = b"\xef\xbb\xbf"
# What is no id; JSON may write it as any number.
_NUMBERS = ("time", "weight")


def ending_of(file: Path) -> str:
    """Tell a file's format by its ending.

    Args:
        file: the file.

    Returns:
        One of `ENDINGS`, without `.gz`.

    Raises:
        InputError: there is no such file, it is a folder, or its ending is none of them.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder. Name the files in it.")
    if not file.exists():
        raise InputError(f"{file} does not exist. Check the path.")
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    zipped = suffixes[-1:] == [".gz"]
    ending = suffixes[-2] if zipped and len(suffixes) == 2 else "".join(suffixes[-1:])
    if ending not in ENDINGS or (zipped and ending == ".parquet"):
        raise InputError(f"{file}: unknown ending. Known: {', '.join(ENDINGS)}; all but the last also .gz.")
    return ending


def _is_zipped(file: Path) -> bool:
    return file.suffix.lower() == ".gz"


def source_of(file: Path) -> Path | bytes:
    """Return what polars reads of a file: its path, or its content when it is gzipped or has a byte order mark.

    Polars takes a path for a pattern, so characters that patterns have are escaped in it.

    Args:
        file: the file.

    Raises:
        EOFError, OSError, zlib.error: the gzip content is damaged.
    """
    if _is_zipped(file):
        return gzip.decompress(file.read_bytes()).removeprefix(_BOM)
    with file.open("rb") as opened:
        marked = opened.read(len(_BOM)) == _BOM
    return file.read_bytes().removeprefix(_BOM) if marked else Path(glob.escape(str(file)))


def open_text(file: Path) -> IO[str]:
    """Open a file's text, gzipped or not, without its byte order mark; what is not UTF-8 is read as U+FFFD.

    Args:
        file: the file.
    """
    if _is_zipped(file):
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return file.open(encoding="utf-8-sig", errors="replace", newline="")


def damage_of(file: Path, ending: str, error: Exception) -> str:
    """Say in one line what is wrong with a file that the reader gave up on, and where.

    Args:
        file: the file.
        ending: its format, see `ending_of`.
        error: what the reader said.

    Returns:
        The problem and a remedy, to stand behind the file's name.
    """
    if isinstance(error, (EOFError, zlib.error)) or (isinstance(error, OSError) and error.errno is None):
        return "the gzip content is damaged or cut off. Copy the file again, or gzip it anew."
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}."
    if ending == ".parquet":
        return f"not a whole Parquet file ({_first_line(error)}). Copy or write the file again."
    with open_text(file) as text:
        found = _bad_json(text) if ending in JSON_LINES else _bad_delimited(text, SEPARATORS[ending])
        for place, problem in found:
            return f"{place} {problem}. Mend the row."
    return f"cannot be read as {ending} ({_first_line(error)}). Check the format."


def _bad_json(text: IO[str]) -> Iterator[tuple[str, str]]:
    filled = ((line, content) for line, content in enumerate(text, start=1) if content.strip())
    for row, (line, content) in enumerate(filled, start=1):
        place = f"row {row} (line {line})"
        if "\ufffd" in content:
            yield place, "is not UTF-8 text"
        try:
            value = json.loads(content)
        except ValueError:
            yield place, "is not JSON"
        else:
            if not isinstance(value, dict):
                yield place, "is not a JSON object"


def _bad_delimited(text: IO[str], separator: str) -> Iterator[tuple[str, str]]:
    reader = csv.reader(text, delimiter=separator, strict=True)
    open_quote = "holds a quote that is not closed (inside a quoted field write it twice)"
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
        if any(field.count('"') % 2 for field in fields):  # Python's reader takes a stray quote for a letter
            yield place, open_quote
        if len(fields) > width:
            yield place, f"has {len(fields)} fields, the header has {width}"
        row += 1


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def row_place(file: Path, row: int) -> str:
    """Say where a row stands, for a message: `row 17 (line 18)`.

    Args:
        file: the file.
        row: the row's number; the first row of data is 1.

    Returns:
        The text; without a line for `.parquet`.
    """
    ending = ending_of(file)
    line = None
    if ending in SEPARATORS:
        with open_text(file) as text:
            reader = csv.reader(text, delimiter=SEPARATORS[ending])
            try:
                next(islice(reader, row - 1, row), None)  # fields of the rows before may hold line breaks
                line = reader.line_num + 1
            except csv.Error:
                line = None
    elif ending in JSON_LINES:
        with open_text(file) as text:
            filled = (number for number, content in enumerate(text, start=1) if content.strip())
            line = next(islice(filled, row - 1, row), None)
    return f"row {row}" if line is None else f"row {row} (line {line})"


def read_columns(file: Path, columns: Mapping[str, str], *, named_by_option: bool = True) -> pl.DataFrame:
    """Read the named columns of one file, of the format that its ending tells.

    `.csv`, `.tsv`, `.jsonl` and `.ndjson` may be gzipped (`.csv.gz`). Their columns come as text, so that
    `007` stays `007`; those of `.parquet` come with their own types.

    Args:
        file: the file.
        columns: what each column is needed for -> its name in the file, such as `{"user": "user_id"}`.
        named_by_option: the user chooses the name with `--ROLE-column`, as an error then says. Default: True.

    Returns:
        The columns in the order of `columns`, then `row`: the row's number in the file, from 1. Blank lines
        of a CSV or TSV file, and rows without a value in any of the columns, are counted but left out.

    Raises:
        InputError: the file is missing, damaged, of an unknown ending or empty, lacks a column or has it twice, or
            an id in JSON is neither text nor an integer.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = file.write_text("who,what\\n007,tent\\n")
        >>> read_columns(file, {"user": "who"}).rows()
        [('007', 1)]
    """
    ending = ending_of(file)
    try:
        if ending in SEPARATORS:
            events = _read_delimited(file, SEPARATORS[ending], columns, named_by_option)
        elif ending in JSON_LINES:
            events = _read_json_lines(file, columns, named_by_option)
        else:
            _check_columns(file, list(pl.read_parquet_schema(glob.escape(str(file)))), columns, named_by_option)
            events = pl.read_parquet(file, columns=list(columns.values()), glob=False)
    except pl.exceptions.NoDataError:
        raise InputError(f"{file} is empty. It must hold a header and rows of events.") from None
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: {damage_of(file, ending, error)}") from None
    events = events.select(columns.values()).with_row_index("row", offset=1)
    if ending in SEPARATORS:
        events = events.filter(pl.any_horizontal(pl.col(*columns.values()).is_not_null()))
    if events.is_empty():
        raise InputError(f"{file} holds no rows of events.")
    return events.select(*columns.values(), "row")


def has_column(file: Path, name: str) -> bool:
    """Say whether a file has a column; a JSON Lines file has it when one of its first 1,000 rows does.

    Args:
        file: the file, of any format that `read_columns` reads.
        name: the column's name.

    Returns:
        False too for a file that `read_columns` refuses.
    """
    ending = ending_of(file)
    try:
        if ending in SEPARATORS:
            header = pl.read_csv(
                source_of(file), separator=SEPARATORS[ending], has_header=False, infer_schema=False, n_rows=1
            )
            return name in header.row(0)
        if ending in JSON_LINES:
            return name in pl.read_ndjson(source_of(file), infer_schema_length=1000).columns
        return name in pl.read_parquet_schema(glob.escape(str(file)))
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error):
        return False


def as_ids(source: object, values: pl.Series) -> pl.Series:
    """Turn a column of ids into text; integers become their decimal digits.

    Args:
        source: the file or the table that has the column, for the message.
        values: the column.

    Returns:
        The column as String.

    Raises:
        InputError: the column is neither text nor integers.

    Example:
        >>> as_ids("events.parquet", pl.Series("item_id", [7])).to_list()
        ['7']
    """
    dtype = values.dtype
    if dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return values.cast(pl.String)
    raise InputError(
        f"{source}: column {values.name!r} holds ids of the type {dtype}. Write them as text or as integers."
    )


def _read_delimited(file: Path, separator: str, columns: Mapping[str, str], named_by_option: bool) -> pl.DataFrame:
    source = source_of(file)
    # Read as a row: as a header, polars would rename what comes twice.
    first = pl.read_csv(source, separator=separator, has_header=False, infer_schema=False, n_rows=1)
    _check_columns(file, [name or "" for name in first.row(0)], columns, named_by_option)
    return pl.read_csv(source, separator=separator, infer_schema=False, columns=list(columns.values()))


def _read_json_lines(file: Path, columns: Mapping[str, str], named_by_option: bool) -> pl.DataFrame:
    source = source_of(file)
    # A schema of text takes every number's own digits: no integer turns into a float on its way.
    events = pl.read_ndjson(source, schema=dict.fromkeys(columns.values(), pl.String))
    if not events.is_empty() and any(column.null_count() == events.height for column in events):
        _check_columns(file, pl.read_ndjson(source, infer_schema_length=1000).columns, columns, named_by_option)
    _check_json_ids(file, source, [name for role, name in columns.items() if role not in _NUMBERS])
    return events


def _check_json_ids(file: Path, source: Path | bytes, names: Sequence[str]) -> None:
    """Refuse ids that are neither text nor integers: as text, an object would become an id, and 1.0 become 1."""
    lines = pl.read_lines(source).to_series()
    lines = lines.filter(lines.str.strip_chars() != "")
    for name in names:
        key = f'"{pl.escape_regex(name)}"\\s*:\\s*'
        doubtful = lines.str.count_matches(key) != lines.str.count_matches(key + r'(?:"|null\b|-?\d+\s*[,}])')
        for row in doubtful.arg_true():  # the key may stand in another value too, so look at what JSON says
            value = json.loads(lines[row]).get(name)
            if isinstance(value, (float, bool, dict, list)):
                raise InputError(
                    f"{file}, {row_place(file, row + 1)}: the {name} {json.dumps(value)[:60]} is neither text nor an "
                    "integer. Write ids as one of them."
                )


def _check_columns(file: Path, found: list[str], columns: Mapping[str, str], named_by_option: bool) -> None:
    for role, name in columns.items():
        if found.count(name) == 1:
            continue
        if name in found:
            raise InputError(
                f"{file}: the column {name!r} comes {found.count(name)} times. Rename or remove the others."
            )
        lowered = {column.lower(): column for column in found}
        close = difflib.get_close_matches(name.lower(), lowered, n=1)
        option = f"--{role}-column " if named_by_option else ""
        hint = f" Did you mean {option}{lowered[close[0]]}?" if close else ""
        shown = ", ".join(repr(column) for column in found[:20]) + (", ..." if len(found) > 20 else "")
        remedy = f"Choose one with --{role}-column." if named_by_option else "Rename it."
        raise InputError(f"{file}: no column {name!r}.{hint} Columns found: {shown}. {remedy}")
