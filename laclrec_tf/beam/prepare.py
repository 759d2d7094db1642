"""`prepare` on Apache Beam: the same folder as the local engine, on any filesystem that Beam supports."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow
from apache_beam.io.filesystems import FileSystems

from laclrec_tf.beam.events import Event, ReadPiece, read_event_files
from laclrec_tf.beam.files import (
    check_result_name,
    existing,
    fetched,
    is_local_folder,
    make_folder,
    matched,
    read_bytes,
    send,
    work_folder,
    write_bytes,
)
from laclrec_tf.beam.histories import (
    last_events,
    read_rows,
    without_duplicates,
    without_rare_items,
    without_rare_users,
    write_events,
    write_rows,
    write_shards,
)
from laclrec_tf.beam.runner import BeamPipelines
from laclrec_tf.data.filters.k_core import nothing_left
from laclrec_tf.data.filters.missing_ids import looks_missing, warn_of_huge_ids
from laclrec_tf.data.filters.settings import Filters, warn_of_dropped
from laclrec_tf.data.filters.ties import named_counts, shuffled_places, tied_steps, warn_of_sorted_ties
from laclrec_tf.data.formats.layouts import Reading
from laclrec_tf.data.prepare import description
from laclrec_tf.data.prepared import DATASET_FILE, VOCABULARY_FILE, shard_names
from laclrec_tf.data.splits import Window, repeated_targets, repeats
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.runtime.terminal import terminal

# Rounds of the k-core in one pipeline. If they are not enough, another pipeline follows.
CORE_ROUNDS = 4
STRETCHES = 1024  # max number of stretches of rows whose users are sorted together


def beam_prepare(
    events: Sequence[str],
    out: str,
    *,
    pipelines: BeamPipelines | None = None,
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str = "timestamp",
    min_interactions: int | None = None,
    min_user_events: int | None = None,
    min_item_events: int | None = None,
    max_length: int | None = None,
    duplicates: str = "drop",
    window: Window | None = None,
    ties: str = "keep",
    seed: int = 0,
    exclude_history: bool | None = None,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """Make the folder that `prepare` makes of the same files, byte for byte.

    One worker reads a whole file, so give many files. The item ids must fit into a worker's memory, the events need
    not. Intermediate files are in `OUT.partial-*`, which is deleted at the end.

    Args:
        events: files, or patterns such as `gs://bucket/events-*.parquet`, whose files are read in sorted order.
        out: folder to create. Its name has no character of patterns.
        pipelines: the runner. Default: this process.
        user_column: see `prepare`.
        item_column: see `prepare`.
        time_column: see `prepare`.
        min_interactions: see `prepare`.
        min_user_events: see `prepare`.
        min_item_events: see `prepare`.
        max_length: see `prepare`.
        duplicates: see `prepare`.
        window: see `prepare`.
        ties: see `prepare`.
        seed: see `prepare`.
        exclude_history: see `prepare`.
        reading: see `prepare`.

    Returns:
        The counts of `dataset.json`.

    Raises:
        InputError: see `prepare`; or the pipeline failed.

    Example:
        >>> beam_prepare(["gs://bucket/events-*.parquet"], "gs://bucket/data")["users"]  # doctest: +SKIP
        22362
    """
    filters = Filters.of(
        min_interactions=min_interactions,
        min_user_events=min_user_events,
        min_item_events=min_item_events,
        max_length=max_length,
        duplicates=duplicates,
        window=window,
        ties=ties,
        seed=seed,
        exclude_history=exclude_history,
    )
    check_result_name(out)
    out = out.rstrip("/")
    if matched(f"{out}/*"):
        raise InputError(f"{out} is not empty. Give another --out, or delete it first.")
    if matched(out) and not is_local_folder(out):
        raise InputError(f"{out} is a file. Give a folder to create with --out.")
    paths = [path for pattern in events for path in existing(pattern)]
    columns = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    with work_folder(out) as work:
        made = _Preparation(pipelines or BeamPipelines(), work, paths, columns, filters, reading or Reading())
        about, names = made.run()
        make_folder(out)
        FileSystems.rename([f"{work}/{name}" for name in names], [f"{out}/{name}" for name in names])
    warn_of_dropped(about["counts"], about["settings"])
    warn_of_sorted_ties(about["counts"], about["settings"])
    return dict(about["counts"])


class _Preparation:
    """The pipelines that make one folder, one after the other."""

    def __init__(
        self,
        pipelines: BeamPipelines,
        work: str,
        paths: list[str],
        columns: dict[str, str],
        filters: Filters,
        reading: Reading,
    ) -> None:
        self.pipelines, self.work, self.paths, self.columns = pipelines, work, paths, columns
        self.filters, self.reading = filters, reading
        self.of_rare_items = 0  # number of events dropped because their items were rare

    def run(self) -> tuple[dict[str, Any], list[str]]:
        """Make all files in `work`; return the content of `dataset.json`, and the names to keep, this file last."""
        self._read_files()
        events = self._filter()
        self._histories(events)
        items = self._catalogue()
        stretches = {int(name): count for name, count in self._read_note("stretches").items()}
        users, kept, core = self._read_note("users"), self._read_note("kept"), self._read_note("core")
        (users_read, _, unique), (items_read, _, _) = self._read_note("user-counts"), self._read_note("item-counts")
        counts = {"users": users, "items": len(items), "events": kept}
        counts |= {"rows_read": self.rows + self.dropped.total(), "users_read": users_read, "items_read": items_read}
        counts["duplicates_dropped"] = self.rows - unique
        counts["below_min_interactions_dropped"] = unique - core
        counts["below_min_item_events_dropped"] = self.of_rare_items
        counts["below_min_user_events_dropped"] = unique - core - self.of_rare_items
        counts |= named_counts(*self._read_note("ties"))
        counts["beyond_max_length_dropped"] = core - kept
        counts["items_beyond_max_length_dropped"] = self._read_note("core-items") - len(items)
        counts |= repeated_targets([self._read_note("repeats")])
        counts |= self.dropped
        about = description(counts, self.inputs, self.columns | self.filters.settings() | self.reading.settings())
        about["shards"] = shard_names(users)
        self._records(stretches, about["shards"])
        write_bytes(f"{self.work}/{DATASET_FILE}", (json.dumps(about, indent=2) + "\n").encode())
        return about, [VOCABULARY_FILE, *about["shards"], DATASET_FILE]

    def _read_files(self) -> None:
        columns = self.reading.columns(*(self.columns[f"{role}_column"] for role in ("user", "item", "time")))
        self.inputs, self.pieces, self.dropped = read_event_files(
            self.pipelines, self.work, self.paths, columns, self.reading
        )
        for note in dict.fromkeys(each["read_as"] for each in self.inputs if "read_as" in each):
            name = next(each["file"] for each in self.inputs if each.get("read_as") == note)
            terminal(stderr=True).print(f"{name}: {note}")
        self.rows = sum(each["rows"] for each in self.inputs) - self.dropped.total()
        self.kind = self.pieces[0][3]
        self.stretch = self.rows // STRETCHES + 1

    def _filter(self) -> str:
        """Drop duplicates and the events below the k-core; return the prefix of the files with the others."""
        filters, rounds = self.filters, 0
        least = filters.min_user_events, filters.min_item_events
        prefix = f"{self.work}/core-0-"

        def first(pipeline: beam.Pipeline) -> None:
            events = pipeline | beam.Create(self.pieces) | beam.Reshuffle() | beam.ParDo(ReadPiece(self.work))
            first_places = events | beam.Map(lambda event: (event[0], event[3])) | "Firsts" >> beam.CombinePerKey(min)
            fields = {"user": pyarrow.string(), "place": pyarrow.int64()}
            first_places | "WriteFirsts" >> write_rows(f"{self.work}/firsts-", fields)
            if filters.duplicates == "drop":
                events = events | without_duplicates()
            for index, of in enumerate(("user", "item")):
                counted = events | f"Count {of}s" >> _counts_by(index)
                self._note(f"{of}-counts", counted | f"Sum {of}s" >> _size_largest_total())
                missing = counted | f"Missing {of}s" >> beam.Filter(lambda count: looks_missing(count[0]))
                others = counted | f"Other {of}s" >> beam.Filter(lambda count: not looks_missing(count[0]))
                self._note(f"missing-{of}s", missing | f"List {of}s" >> beam.combiners.ToDict())
                self._note(f"other-{of}s", others | f"Sum other {of}s" >> _size_largest_total())
            self._core(events, prefix, 0 if max(least) <= 1 else CORE_ROUNDS)

        self._run_core(first)
        while self._read_note("core") and self._read_note("core-before") != self._read_note("core"):
            rounds += 1
            before, prefix = prefix, f"{self.work}/core-{rounds}-"
            self._run_core(partial(self._more_rounds, before, prefix))
        for of in ("user", "item"):
            n_ids, _, n_events = self._read_note(f"{of}-counts")
            warn_of_huge_ids(of, self._read_note(f"missing-{of}s"), n_ids, n_events, self._read_note(f"other-{of}s")[1])
        if not self._read_note("core"):
            shown = ", ".join(self.paths[:3]) + (", ..." if len(self.paths) > 3 else "")
            users, items = self._read_note("user-counts"), self._read_note("item-counts")
            raise InputError(f"{shown}: {nothing_left(*least, *users[:2], *items[:2])}")
        return prefix

    def _run_core(self, build: Callable[[beam.Pipeline], None]) -> None:
        self.pipelines.run(build)
        before, after = (self._read_note(f"events-{name}-items") for name in ("before", "after"))
        self.of_rare_items += before - after

    def _more_rounds(self, before: str, prefix: str, pipeline: beam.Pipeline) -> None:
        self._core(pipeline | read_rows(before), prefix, CORE_ROUNDS)

    def _core(self, events: beam.PCollection, prefix: str, rounds: int) -> None:
        before, after_items = [events], [events]
        for number in range(rounds):
            common = events | f"Items{number}" >> without_rare_items(self.filters.min_item_events)
            before, after_items = [*before, events], [*after_items, common]
            events = common | f"Users{number}" >> without_rare_users(self.filters.min_user_events)
        for name, seen in (("before", before), ("after", after_items)):
            n_seen = seen | f"Flatten {name}" >> beam.Flatten() | f"Count {name}" >> beam.combiners.Count.Globally()
            self._note(f"events-{name}-items", n_seen)
        events | "WriteCore" >> write_events(prefix, self.kind)
        self._note("core", events | "CountCore" >> beam.combiners.Count.Globally())
        of_user = events | "CoreUsers" >> beam.Map(lambda event: event[0]) | beam.combiners.Count.PerElement()
        lengths = self.filters.lengths
        counted = of_user | "Lengths" >> beam.Map(lambda counted: _length_counts(counted[1], lengths))
        n = 2 + 2 * len(lengths)
        self._note("core-lengths", counted | "SumLengths" >> beam.CombineGlobally(_sums, n=n))
        self._note("core-before", before[-1] | "CountBefore" >> beam.combiners.Count.Globally())

    def _histories(self, prefix: str) -> None:
        users, events, *counts = self._read_note("core-lengths")
        shorter, newest = counts[: len(self.filters.lengths)], counts[len(self.filters.lengths) :]
        self.filters = self.filters.for_users([n / users for n in shorter], [n / events for n in newest])

        def build(pipeline: beam.Pipeline) -> None:
            core = pipeline | read_rows(prefix)
            core_items = core | beam.Map(lambda event: event[1]) | beam.Distinct()
            self._note("core-items", core_items | "CountCoreItems" >> beam.combiners.Count.Globally())
            at_one_time = core | beam.Map(lambda event: ((event[0], event[2]), (event[3], event[1])))
            ties = at_one_time | beam.GroupByKey() | beam.MapTuple(lambda _, tied: _steps(tied))
            self._note("ties", ties | "SumTies" >> beam.CombineGlobally(_sums))
            if self.filters.ties == "shuffle":
                core = core | "Shuffle" >> beam.Map(_shuffled, seed=self.filters.seed)
            histories = core | last_events(self.filters.max_kept)
            items = histories | beam.FlatMapTuple(lambda _, items: items) | beam.combiners.Count.PerElement()
            fields = {"item_id": pyarrow.string(), "len": pyarrow.int64()}
            items | "WriteItems" >> write_rows(f"{self.work}/items-", fields)
            kept = items | beam.MapTuple(lambda _, count: count) | beam.CombineGlobally(sum)
            self._note("kept", kept)
            repeated = histories | beam.MapTuple(lambda _, items: repeats(items)) | beam.CombineGlobally(_sums, n=4)
            self._note("repeats", repeated)
            firsts = pipeline | "Firsts" >> read_rows(f"{self.work}/firsts-")
            # Each user has one history and one place.
            placed = (
                (histories, firsts)
                | beam.CoGroupByKey()
                | beam.FlatMapTuple(lambda user, found: [(found[1][0], user, items) for items in found[0]])
            )
            fields = {"place": pyarrow.int64(), "user": pyarrow.string(), "items": pyarrow.list_(pyarrow.string())}
            placed | "WritePlaced" >> write_rows(f"{self.work}/placed-", fields)
            self._note("users", placed | beam.combiners.Count.Globally())
            stretch = self.stretch
            stretches = (
                placed | beam.Map(lambda row: row[0] // stretch) | "Stretches" >> beam.combiners.Count.PerElement()
            )
            self._note("stretches", stretches | beam.combiners.ToDict())

        self.pipelines.run(build)

    def _catalogue(self) -> list[str]:
        """Order the items, most frequent first, then by name, and write the vocabulary."""
        tables = []
        for path in matched(f"{self.work}/items-*"):
            with fetched(path) as file:
                tables.append(pl.read_parquet(file))
        items = pl.concat(tables).sort("len", "item_id", descending=[True, False])["item_id"].to_list()
        with tempfile.TemporaryDirectory() as scratch:
            ItemVocabulary(items).save(Path(scratch) / VOCABULARY_FILE)
            send(Path(scratch) / VOCABULARY_FILE, f"{self.work}/{VOCABULARY_FILE}")
        return items

    def _records(self, stretches: dict[int, int], shards: list[str]) -> None:
        in_order = sorted(stretches)
        sums = accumulate((stretches[stretch] for stretch in in_order), initial=0)
        before = dict(zip(in_order, sums, strict=False))
        write = write_shards(
            self.work,
            [f"{self.work}/{name}" for name in shards],
            f"{self.work}/{VOCABULARY_FILE}",
            self.stretch,
            before,
        )
        self.pipelines.run(lambda pipeline: pipeline | read_rows(f"{self.work}/placed-") | write)

    def _note(self, name: str, value: beam.PCollection) -> None:
        path = f"{self.work}/{name}.json"
        value | f"Note {name}" >> beam.Map(lambda found: write_bytes(path, json.dumps(found).encode()))

    def _read_note(self, name: str) -> Any:
        return json.loads(read_bytes(f"{self.work}/{name}.json"))


@beam.ptransform_fn
def _counts_by(events: beam.PCollection, index: int) -> beam.PCollection:
    """Return the values at an index of the events, with their numbers of events."""
    return events | beam.Map(lambda event: event[index]) | beam.combiners.Count.PerElement()


@beam.ptransform_fn
def _size_largest_total(counted: beam.PCollection) -> beam.PCollection:
    """Return the number of values, the largest number of events of one, and of all."""
    return counted | beam.MapTuple(lambda _, n: (1, n, n)) | beam.CombineGlobally(_combine_sizes)


def _steps(tied: Iterable[tuple[int, str]]) -> tuple[int, int, int]:
    return tied_steps(item for _, item in sorted(tied))


def _shuffled(event: Event, seed: int) -> Event:
    return *event[:3], int(shuffled_places(np.array([event[3]]), seed)[0])


def _length_counts(events: int, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Return 1 user, the number of events, whether these are at most each length, and how many of them the last are."""
    return (1, events, *(int(events <= length) for length in lengths), *(min(events, length) for length in lengths))


def _sums(found: Iterable[tuple[int, ...]], n: int = 3) -> tuple[int, ...]:
    return tuple(map(sum, zip((0,) * n, *found, strict=True)))


def _combine_sizes(counted: Iterable[tuple[int, int, int]]) -> tuple[int, int, int]:
    # Beam also passes partial results, and nothing if there are no events.
    sizes, largest, totals = zip((0, 0, 0), *counted, strict=True)
    return sum(sizes), max(largest), sum(totals)
