"""The steps from events to histories in Beam: duplicates, k-core, last events of each user, and the record files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow
import tensorflow as tf
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquet
from apache_beam.pvalue import AsDict, AsIter
from apache_beam.utils.shared import Shared

from laclrec_tf.beam.events import Event
from laclrec_tf.beam.files import fetched, join, send
from laclrec_tf.data.prepared import serialise_history
from laclrec_tf.item_vocabulary import ItemVocabulary


@beam.ptransform_fn
def without_duplicates(events: beam.PCollection) -> beam.PCollection:
    """Keep the first of the events with the same user, item and timestamp."""
    return (
        events
        | "ByContent" >> beam.Map(lambda event: (event[:3], event[3]))
        | "First" >> beam.CombinePerKey(min)
        | "AsEvents" >> beam.MapTuple(lambda content, place: (*content, place))
    )


@beam.ptransform_fn
def without_rare_items(events: beam.PCollection, least: int) -> beam.PCollection:
    """Drop the events of items that have fewer than `least` events.

    A combiner counts the items, so no worker holds all events of a popular one.
    """
    rare = (
        events
        | "Items" >> beam.Map(lambda event: event[1])
        | "CountItems" >> beam.combiners.Count.PerElement()
        | "RareItems" >> beam.Filter(lambda counted: counted[1] < least)
    )
    return events | "Filter" >> beam.Filter(lambda event, rare: event[1] not in rare, rare=AsDict(rare))


@beam.ptransform_fn
def without_rare_users(events: beam.PCollection, least: int) -> beam.PCollection:
    """Drop the events of users who have fewer than `least` events.

    Of each user only the first `least` events are counted; then all are passed on one by one.
    """
    return (
        events
        | "ByUser" >> beam.Map(lambda event: (event[0], event))
        | "OfUser" >> beam.GroupByKey()
        | "IfEnough" >> beam.FlatMapTuple(lambda user, events: _if_enough(events, least))
    )


def _if_enough(events: Iterable[Event], least: int) -> Iterator[Event]:
    if sum(1 for _ in islice(events, least)) >= least:
        yield from events  # a group can be read twice, and a large one is no list


@beam.ptransform_fn
def last_events(events: beam.PCollection, max_length: int | None) -> beam.PCollection:
    """Return `(user, items of the last events)`, oldest first; ties stay in the order of the files.

    Args:
        events: the events.
        max_length: max number of events of a user. No list of a user's events is ever longer. None for all events.
    """
    by_user = events | "ByUser" >> beam.Map(lambda event: (event[0], (event[2], event[3], event[1])))
    if max_length is None:
        last = by_user | "All" >> beam.GroupByKey()
    else:
        last = by_user | "Last" >> beam.combiners.Top.LargestPerKey(max_length)
    return last | "OldestFirst" >> beam.MapTuple(lambda user, last: (user, [item for _, _, item in sorted(last)]))


@beam.ptransform_fn
def write_rows(rows: beam.PCollection, prefix: str, fields: dict[str, pyarrow.DataType]) -> object:
    """Write tuples to Parquet files of this prefix."""
    names = list(fields)
    to_file = WriteToParquet(prefix, pyarrow.schema(list(fields.items())), file_name_suffix=".parquet")
    return rows | "Name" >> beam.Map(lambda row: dict(zip(names, row, strict=True))) | "Write" >> to_file


@beam.ptransform_fn
def read_rows(pipeline: beam.Pipeline, prefix: str) -> beam.PCollection:
    """Read the tuples that `write_rows` wrote."""
    return pipeline | "Read" >> ReadFromParquetBatched(f"{prefix}*") | "AsRows" >> beam.FlatMap(_tuples)


def _tuples(table: pyarrow.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def write_events(prefix: str, kind: str) -> beam.PTransform:
    """Return a transform that writes events to files of this prefix.

    Args:
        prefix: prefix of the files' names.
        kind: "float" for fractional timestamps; all others are integers.
    """
    time = pyarrow.float64() if kind == "float" else pyarrow.int64()
    fields = {"user": pyarrow.string(), "item": pyarrow.string(), "time": time, "place": pyarrow.int64()}
    return write_rows(prefix, fields)


@beam.ptransform_fn
def write_shards(
    histories: beam.PCollection, work: str, shards: list[str], vocabulary: str, stretch: int, before: Mapping[int, int]
) -> beam.PCollection:
    """Write users in order, distributed over the shards, and return the paths written.

    The users of each stretch of the files' rows are sorted by one worker. The users of a stretch that belong to the
    same shard are a piece, and a shard is its pieces one after the other.

    Args:
        histories: `(place of the user's first event, user, items)`.
        work: folder for the pieces.
        shards: paths of the shards.
        vocabulary: path of the vocabulary file.
        stretch: number of input rows in a stretch.
        before: number of users before each stretch that has any.
    """
    pieces = (
        histories
        | "Serialise" >> beam.ParDo(_Serialise(vocabulary))
        | "ByStretch" >> beam.Map(lambda record: (record[0] // stretch, record))
        | "Group" >> beam.GroupByKey()
        | "WritePieces" >> beam.MapTuple(lambda s, records: _write_pieces(work, s, records, before[s], len(shards)))
    )
    return (
        histories.pipeline
        | "Shards" >> beam.Create(list(enumerate(shards)))
        | "Apart" >> beam.Reshuffle()
        # The side input is complete only when all pieces are written.
        | "Join" >> beam.Map(lambda shard, written: _join_pieces(work, shard, before), written=AsIter(pieces))
    )


class _Serialise(beam.DoFn):
    def __init__(self, vocabulary: str) -> None:
        self.path, self.shared = vocabulary, Shared()

    def setup(self) -> None:
        self.vocabulary = self.shared.acquire(self._load)

    def _load(self) -> ItemVocabulary:
        with fetched(self.path) as file:
            return ItemVocabulary.load(file)

    def process(self, element: tuple[int, str, list[str]]) -> Iterator[tuple[int, bytes]]:
        place, user, items = element
        yield place, serialise_history(user, self.vocabulary.to_ids(items))


def _write_pieces(work: str, stretch: int, records: Iterable[tuple[int, bytes]], before: int, n_shards: int) -> int:
    in_order = [record for _, record in sorted(records)]
    for shard in range(n_shards):
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "piece.tfrecord"
            with tf.io.TFRecordWriter(str(local)) as writer:
                for record in in_order[(shard - before) % n_shards :: n_shards]:
                    writer.write(record)
            send(local, _piece(work, shard, stretch))
    return stretch


def _join_pieces(work: str, shard: tuple[int, str], stretches: Iterable[int]) -> str:
    number, path = shard
    join([_piece(work, number, stretch) for stretch in sorted(stretches)], path)
    return path


def _piece(work: str, shard: int, stretch: int) -> str:
    return f"{work}/piece-{shard:05d}-{stretch:08d}"
