"""The events that `prepare` is given, files or a table in memory, and what they can be told by later."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from rich.progress import Progress

from laclrec_tf.data.interactions import read_interactions, table_interactions
from laclrec_tf.data.native_tables import is_table
from laclrec_tf.file_digest import file_sha256


def read_events(
    events: Any, columns: Mapping[str, Any], progress: Progress
) -> tuple[pl.DataFrame, list[dict[str, Any]], str]:
    """Read events.

    Args:
        events: a file or several, or a table of pandas, polars or pyarrow.
        columns: `user_column`, `item_column` and `time_column`.
        progress: advances by file.

    Returns:
        What `read_interactions` returns; "file", "sha256" and "rows" of each source, where a table's is the one of its
        events as CSV; and the sources' names, for messages.

    Raises:
        InputError: see `read_interactions` and `table_interactions`.
    """
    inputs: list[dict[str, Any]] = []
    if is_table(events):
        reading = progress.add_task("Reading", total=1)
        table = table_interactions(events, **columns)
        name = f"{type(events).__module__.partition('.')[0]}.{type(events).__name__}"
        inputs.append({"file": name, "sha256": _table_sha256(table), "rows": table.height})
        progress.advance(reading)
        return table, inputs, "The table"
    files = [Path(file) for file in ([events] if isinstance(events, str | Path) else events)]
    reading = progress.add_task("Reading", total=len(files))

    def note_input(file: Path, rows: int) -> None:
        inputs.append({"file": file.name, "sha256": file_sha256(file), "rows": rows})
        progress.advance(reading)

    table = read_interactions(files, **columns, on_file=note_input)
    return table, inputs, ", ".join(str(file) for file in files[:3]) + (", ..." if len(files) > 3 else "")


def _table_sha256(table: pl.DataFrame) -> str:
    hashed = hashlib.sha256()
    for part in table.iter_slices(100_000):
        text = io.BytesIO()
        part.write_csv(text)
        hashed.update(text.getbuffer())
    return hashed.hexdigest()
