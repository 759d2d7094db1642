"""What is wrong with a file of events that cannot be read."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from laclrec_tf.data.event_formats import JSON_LINES, SEPARATORS, open_text


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
