"""Events in Beam: one worker reads and validates a file as the local engine does, then each row is an element."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apache_beam as beam
import polars as pl

from laclrec_tf.beam.files import fetched, read_bytes, send, write_bytes
from laclrec_tf.beam.runner import BeamPipelines
from laclrec_tf.data.events import (
    FileSummary,
    check_columns_differ,
    check_times,
    read_event_file,
    warn_of_repeated_files,
)
from laclrec_tf.data.formats.layouts import Reading
from laclrec_tf.data.timestamps import comparable_numbers
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256

ROWS_PER_PIECE = 2**18
Event = tuple[str, str, Any, int]  # user, item, timestamp, row number over all files
_DTYPES: dict[str, Any] = {"int": pl.Int64, "float": pl.Float64, "us": pl.Datetime("us"), "ns": pl.Datetime("ns")}


def read_event_files(
    pipelines: BeamPipelines,
    work: str,
    paths: list[str],
    columns: Mapping[str, str],
    reading: Reading | None = None,
) -> tuple[list[dict[str, Any]], list[tuple[int, int, int, str]], Counter[str]]:
    """Read and validate files, and write their rows as pieces for `ReadPiece`.

    Args:
        pipelines: the runner.
        work: folder for the pieces.
        paths: the files.
        columns: names of the columns by their roles.
        reading: see `read_interactions`. Default: None, `Reading()`.

    Returns:
        What `dataset.json` says of each file, an element for `ReadPiece` of each piece, and the numbers of events that
        are left out.

    Raises:
        InputError: two columns have the same name, a file has a mistake, or the timestamps of two files cannot be
            compared.
    """
    check_columns_differ(columns)
    files, write = list(enumerate(paths)), _WritePieces(work, columns, reading or Reading())
    pipelines.run(lambda p: p | beam.Create(files) | beam.Reshuffle() | beam.ParDo(write))
    summaries = [json.loads(read_bytes(_summary(work, number))) for number in range(len(paths))]
    for summary in summaries:
        if "error" in summary:
            raise InputError(summary["error"])
    warn_of_repeated_files(paths, [summary["record"]["sha256"] for summary in summaries])
    kind = "row"
    found = [FileSummary(**summary["found"]) for summary in summaries]
    if check_times(paths, found):
        ends = [pl.Series("timestamp", summary["ends"], dtype=_DTYPES[summary["kind"]]) for summary in summaries]
        kind = _common_kind(ends, comparable_numbers(ends, paths))
    pieces, first, dropped = [], 0, Counter[str]()
    for number, each in enumerate(found):
        kept = each.rows - sum(each.dropped.values())
        for piece, start in enumerate(range(0, kept, ROWS_PER_PIECE)):
            pieces.append((number, piece, first + start, kind))
        first += kept
        dropped.update(each.dropped)
    return [summary["record"] for summary in summaries], pieces, dropped


def _common_kind(ends: list[pl.Series], compared: list[pl.Series]) -> str:
    if isinstance(ends[0].dtype, pl.Datetime):
        return "ns" if any(each.dtype == pl.Datetime("ns") for each in ends) else "us"
    return "float" if compared[0].dtype == pl.Float64 else "int"


class _WritePieces(beam.DoFn):
    """Validate a file, given by its number and path, and write its rows as Parquet pieces with a summary."""

    def __init__(self, work: str, columns: Mapping[str, str], reading: Reading) -> None:
        self.work, self.columns, self.reading = work, dict(columns), reading

    def process(self, element: tuple[int, str]) -> Iterator[None]:
        number, path = element
        with fetched(path) as local:
            try:
                table, found = read_event_file(local, self.columns, reading=self.reading)
            except InputError as error:
                summary: dict[str, Any] = {"error": str(error).replace(str(local), path)}
            else:
                summary = {"found": asdict(found), "record": found.record(local.name, file_sha256(local))}
                summary |= _kind_and_ends(table["timestamp"])
                for piece, rows in enumerate(table.iter_slices(ROWS_PER_PIECE)):
                    _send_parquet(rows, _piece(self.work, number, piece))
        write_bytes(_summary(self.work, number), json.dumps(summary).encode())
        yield from ()


def _kind_and_ends(times: pl.Series) -> dict[str, Any]:
    # `comparable_numbers` needs no more than the smallest and the largest timestamp.
    (kind,) = (kind for kind, dtype in _DTYPES.items() if dtype == times.dtype)
    numbers = times.to_physical()
    return {"kind": kind, "ends": [numbers.min(), numbers.max()]}


def _send_parquet(table: pl.DataFrame, path: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "piece.parquet"
        table.write_parquet(local)
        send(local, path)


class ReadPiece(beam.DoFn):
    """Read the events of a piece, with timestamps of the number type that all files share.

    Args:
        work: the folder that `read_event_files` wrote to.
    """

    def __init__(self, work: str) -> None:
        self.work = work

    def process(self, element: tuple[int, int, int, str]) -> Iterator[Event]:
        """Yield the events of a piece: number of the file, number of the piece, its first row, type of timestamps."""
        number, piece, first, kind = element
        with fetched(_piece(self.work, number, piece)) as local:
            table = pl.read_parquet(local)
        times = _as_kind(table["timestamp"], kind)
        if kind == "row":  # the order of the rows is the order of the events
            times = pl.int_range(first, first + table.height, eager=True)
        if kind == "float":
            times = times + 0.0  # makes -0.0 the same key as 0.0
        rows = zip(table["user_id"].to_list(), table["item_id"].to_list(), times.to_list(), strict=True)
        for place, (user, item, time) in enumerate(rows, start=first):
            yield user, item, time, place


def _as_kind(times: pl.Series, kind: str) -> pl.Series:
    if isinstance(times.dtype, pl.Datetime):
        return times.dt.cast_time_unit("ns" if kind == "ns" else "us").to_physical()
    return times.cast(_DTYPES.get(kind, pl.Int64))


def _piece(work: str, number: int, piece: int) -> str:
    return f"{work}/events-{number:05d}-{piece:05d}.parquet"


def _summary(work: str, number: int) -> str:
    return f"{work}/summary-{number:05d}.json"
