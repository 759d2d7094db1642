"""The steps from events to histories in Beam: duplicates, k-core, the last events of each user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquet
from apache_beam.pvalue import AsDict, AsIter
from apache_beam.utils.shared import Shared

from laclrec_tf.beam.events import Event
from laclrec_tf.beam.files import fetched, send
from laclrec_tf.data.prepared import serialise_history
from laclrec_tf.item_vocabulary import ItemVocabulary

# A pipeline has so many rounds of the k-core; where they do not do, another pipeline follows.
CORE_ROUNDS = 4


class WriteShards(beam.PTransform):
    """Writes users in order, dealt out to the shards.

    Users are sorted in stretches of the files' rows, each short enough for a worker. The users of a stretch that fall
    to one shard are a piece; a shard is its pieces one after the other.

    Args:
        work: where the pieces go.
        shards: the shards' paths.
        vocabulary: path of the vocabulary file.
        stretch: rows of the input in a stretch.
        before: users before each stretch that has any.
    """

    def __init__(self, work: str, shards: list[str], vocabulary: str, stretch: int, before: Mapping[int, int]) -> None:
        super().__init__()
        self.work, self.shards, self.vocabulary = work, shards, vocabulary
        self.stretch, self.before = stretch, dict(before)

    def expand(self, histories: beam.PCollection) -> beam.PCollection:
        """Take `(place of the user's first event, user, items)`, give the paths written."""
        stretch, work, n_shards, before = self.stretch, self.work, len(self.shards), self.before
        pieces = (
            histories
            | "Serialise" >> beam.ParDo(_Serialise(self.vocabulary))
            | "ByStretch" >> beam.Map(lambda record: (record[0] // stretch, record))
            | "Group" >> beam.GroupByKey()
            | "WritePieces" >> beam.MapTuple(lambda s, records: _write_pieces(work, s, records, before[s], n_shards))
        )
        return (
            histories.pipeline
            | "Shards" >> beam.Create(list(enumerate(self.shards)))
            | "Apart" >> beam.Reshuffle()
            # That the side input is there says that all pieces are.
            | "Join" >> beam.ParDo(_JoinPieces(work, sorted(before)), AsIter(pieces))
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


class _JoinPieces(beam.DoFn):
    def __init__(self, work: str, stretches: list[int]) -> None:
        self.work, self.stretches = work, stretches

    def process(self, element: tuple[int, str], written: Iterable[int]) -> Iterator[str]:
        shard, path = element
        with FileSystems.create(path, compression_type="uncompressed") as whole:
            for stretch in self.stretches:
                with FileSystems.open(_piece(self.work, shard, stretch), compression_type="uncompressed") as piece:
                    shutil.copyfileobj(piece, whole, 2**20)
        yield path


def _piece(work: str, shard: int, stretch: int) -> str:
    return f"{work}/piece-{shard:05d}-{stretch:08d}"


class WithoutDuplicates(beam.PTransform):
    """Keeps the first of events with the same user, item and timestamp."""

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Take and give events."""
        return (
            events
            | "ByContent" >> beam.Map(lambda event: (event[:3], event[3]))
            | "First" >> beam.CombinePerKey(min)
            | "AsEvents" >> beam.MapTuple(lambda content, place: (*content, place))
        )


class CoreRound(beam.PTransform):
    """Takes away the events of items, then of users, that have fewer than `least`.

    Items are counted by a combiner, so that no worker meets all events of a popular one. Of a user's events the first
    few are counted, then all are passed on one by one.

    Args:
        least: how many a user and an item must have.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Take and give events."""
        least = self.least
        rare = (
            events
            | "Items" >> beam.Map(lambda event: event[1])
            | "CountItems" >> beam.combiners.Count.PerElement()
            | "RareItems" >> beam.Filter(lambda counted: counted[1] < least)
        )
        return (
            events
            | "WithoutRareItems" >> beam.Filter(lambda event, rare: event[1] not in rare, rare=AsDict(rare))
            | "ByUser" >> beam.Map(lambda event: (event[0], event))
            | "OfUser" >> beam.GroupByKey()
            | "WithoutRareUsers" >> beam.FlatMapTuple(lambda user, events: _if_enough(events, least))
        )


class LastEvents(beam.PTransform):
    """Gives each user and the items of the last events, oldest first; ties stay in the order of the files.

    Args:
        max_length: most events of a user. No list of a user's events is ever longer.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Take events, give `(user, items)`."""
        return (
            events
            | "ByUser" >> beam.Map(lambda event: (event[0], (event[2], event[3], event[1])))
            | "Last" >> beam.combiners.Top.LargestPerKey(self.max_length)
            | "OldestFirst" >> beam.MapTuple(lambda user, last: (user, [item for _, _, item in reversed(last)]))
        )


class SizeLargestSum(beam.CombineFn):
    """How many numbers there are, the largest (0 where there is none), and their sum."""

    def create_accumulator(self) -> tuple[int, int, int]:
        """Begin with none."""
        return 0, 0, 0

    def add_input(self, accumulator: tuple[int, int, int], number: int) -> tuple[int, int, int]:
        """Take one more."""
        size, largest, total = accumulator
        return size + 1, max(largest, number), total + number

    def merge_accumulators(self, accumulators: Iterable[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Put together what workers found."""
        sizes, largest, totals = zip(*accumulators, strict=True)
        return sum(sizes), max(largest), sum(totals)

    def extract_output(self, accumulator: tuple[int, int, int]) -> tuple[int, int, int]:
        """Give all three."""
        return accumulator


def write_events(prefix: str, kind: str) -> beam.PTransform:
    """Return a transform that writes events to files of this prefix.

    Args:
        prefix: of the files' names.
        kind: "float" for fractional timestamps, else they are integers.
    """
    time = pyarrow.float64() if kind == "float" else pyarrow.int64()
    fields = {"user": pyarrow.string(), "item": pyarrow.string(), "time": time, "place": pyarrow.int64()}
    return write_rows(prefix, fields)


def write_rows(prefix: str, fields: dict[str, pyarrow.DataType]) -> beam.PTransform:
    """Return a transform that writes tuples to Parquet files of this prefix."""
    names = list(fields)
    to_file = WriteToParquet(prefix, pyarrow.schema(list(fields.items())), file_name_suffix=".parquet")
    return _Named(names, to_file)


def read_rows(prefix: str) -> beam.PTransform:
    """Return a transform that reads what `write_rows` wrote, as tuples."""
    return _Rows(prefix)


class _Named(beam.PTransform):
    def __init__(self, names: list[str], to_file: beam.PTransform) -> None:
        super().__init__()
        self.names, self.to_file = names, to_file

    def expand(self, rows: beam.PCollection) -> object:
        names = self.names
        return rows | "Name" >> beam.Map(lambda row: dict(zip(names, row, strict=True))) | "Write" >> self.to_file


class _Rows(beam.PTransform):
    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def expand(self, begin: beam.Pipeline) -> beam.PCollection:
        return begin | "Read" >> ReadFromParquetBatched(f"{self.prefix}*") | "AsRows" >> beam.FlatMap(_tuples)


def _tuples(table: pyarrow.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _if_enough(events: Iterable[Event], least: int) -> Iterator[Event]:
    if sum(1 for _ in islice(events, least)) >= least:
        yield from events  # a group can be gone through again, and is no list where it is large
