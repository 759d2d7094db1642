"""Read named columns of JSON Lines as text, without losing digits, and refuse what could be read in two ways."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from laclrec_tf.errors import InputError
from laclrec_tf.files import HALF_PAIR, decoded_text

# Columns that are not ids; they may be any number.
_NUMBERS = ("time", "weight", "rating")
# Half a surrogate pair, which polars reads as a NUL, or a name with an escaped character.
_DOUBTFUL = r'\\u[dD][89a-fA-F]|\\[^"]*"\s*:'


def read_json(file: Path, source: Path | bytes, columns: Mapping[str, str]) -> pl.DataFrame:
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
        rows = (_json_row(file, row, line, columns) for row, line in _lines(file))
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


def json_names(file: Path) -> list[str]:
    """Return the names that occur in any row of a file, in the order of their first row."""
    return list(dict.fromkeys(name for row, line in _lines(file) for name in _json_row(file, row, line)))


def json_place(file: Path, row: int) -> str:
    """Name the place of a row, such as `row 17 (line 18)`; blank lines are no rows."""
    with decoded_text(file, newline="\n") as text:
        filled = (number for number, content in enumerate(text, start=1) if content.strip())
        line = next(islice(filled, row - 1, row), None)
    return f"row {row}" if line is None else f"row {row} (line {line})"


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with decoded_text(file, newline="\n") as text:
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
        raise InputError(f"{file}: {json_place(file, row)} {problem}.")
    for role, name in (columns or {}).items():
        value, wrong = values.get(name), None
        if isinstance(value, str) and HALF_PAIR.search(value):
            wrong = f"{json.dumps(value)[:60]} has half a surrogate pair, which is no character. Correct the row"
        elif role not in _NUMBERS and isinstance(value, (float, bool, dict, list)):
            wrong = f"{json.dumps(value)[:60]} is neither text nor an integer. Write ids as text or as integers"
        elif name in values.repeated:
            wrong = "occurs twice. Remove one of them"
        if wrong is not None:
            raise InputError(f"{file}, {json_place(file, row)}: the {name} {wrong}.")
    return values


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)
