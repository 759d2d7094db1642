"""Histories as TFRecord shards in Beam, in the order and with the bytes of the local engine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsIter
from apache_beam.utils.shared import Shared

from laclrec_tf.data.prepared import serialise_history
from laclrec_tf.item_vocabulary import ItemVocabulary
from pipelines.beam_files import fetched, send


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
