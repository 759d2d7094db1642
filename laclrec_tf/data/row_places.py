"""Where a row of a file of events stands."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

from laclrec_tf.data.event_formats import JSON_LINES, SEPARATORS, ending_of, open_text


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
