"""Grow a run: new items come in, retired ones leave the index, and nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.item_vectors import cooccurrence_weights, neighbour_vectors, read_neighbours
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models.catalogue import grown_model
from laclrec_tf.run_folder import RETIRED_FILE, RunFolder, check_new_run, write_record
from laclrec_tf.runtime.machine import package_versions
from laclrec_tf.runtime.output_files import new_folder
from laclrec_tf.runtime.terminal import spinner


@dataclass(frozen=True)
class NewItemRows:
    """What the new items of a run begin with.

    Args:
        vectors: `[A, D]` float32 rows of the item table.
        popularity: `[A]` int64, how often each item stands in the events.
        sources: how many rows are made of "neighbours", of "events" and of the whole "catalogue".
    """

    vectors: np.ndarray
    popularity: np.ndarray
    sources: dict[str, int]


def new_item_rows(
    table: np.ndarray,
    vocabulary: ItemVocabulary,
    *,
    neighbours: Path | None = None,
    events: Path | None = None,
    columns: dict[str, str] | None = None,
) -> NewItemRows:
    """Make rows for the items behind the old ones.

    Args:
        table: `[N, D]` rows of the old items, item 1 first.
        vocabulary: the old items and the `A` new ones behind them.
        neighbours: a file for `read_neighbours`; an item it gives a known neighbour gets its row from there.
            Default: None.
        events: a file for `read_interactions`, for the items without given neighbours and for the counts of all.
            Default: None.
        columns: the names of the events' columns, as arguments of `read_interactions`. Default: its own.

    Returns:
        The rows; an item of which nothing is known gets the mean of all old rows.

    Raises:
        InputError: a file cannot be read, or names no item of `vocabulary`.
    """
    n_items, n_new = len(table), vocabulary.n_items - len(table)
    counts = np.zeros(n_new, np.int64)
    weights = {
        "neighbours": scipy.sparse.csr_array((n_new, n_items)),
        "events": scipy.sparse.csr_array((n_new, n_items)),
    }
    if neighbours is not None:
        weights["neighbours"] = _given_weights(neighbours, vocabulary, n_items)
    if events is not None:
        histories = _histories(events, vocabulary, columns or {})
        weights["events"] = cooccurrence_weights(histories, n_items, n_new)
        counts = np.bincount(np.concatenate(histories), minlength=vocabulary.n_items + 1)[n_items + 1 :]
    given, is_given = neighbour_vectors(weights["neighbours"], table)
    met, is_met = neighbour_vectors(weights["events"], table)  # the mean of all rows where there is nothing
    n_given, n_met = int(is_given.sum()), int((is_met & ~is_given).sum())
    return NewItemRows(
        vectors=np.where(is_given[:, np.newaxis], given, met),
        popularity=counts,
        sources={"neighbours": n_given, "events": n_met, "catalogue": n_new - n_given - n_met},
    )


def _given_weights(file: Path, vocabulary: ItemVocabulary, n_items: int) -> scipy.sparse.csr_array:
    """Return `[A, N]` weights of old items for new ones; the rows of other items, and new neighbours, do not count."""
    pairs = read_neighbours(file)
    items, others = (np.array(vocabulary.to_ids(pairs[name])) for name in ("item", "neighbour"))
    if not items.any():
        raise InputError(f"{file}: its items are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    if not others.any():
        raise InputError(f"{file}: its neighbours are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    used = (items > n_items) & (others > 0) & (others <= n_items)
    places = (items[used] - n_items - 1, others[used] - 1)
    shape = (vocabulary.n_items - n_items, n_items)
    return scipy.sparse.csr_array((pairs["weight"].to_numpy()[used], places), shape=shape)  # sums what comes twice


def _histories(file: Path, vocabulary: ItemVocabulary, columns: dict[str, Any]) -> list[np.ndarray]:
    """Return per user the ids of known items, oldest first; the same event twice counts once, as for `prepare`."""
    items = pl.DataFrame({"item_id": vocabulary.items}).with_row_index("id", offset=1)
    events = read_interactions([file], **columns).unique(maintain_order=True, keep="first")
    events = events.join(items, on="item_id", how="inner", maintain_order="left")
    if events.is_empty():
        raise InputError(f"{file}: its items are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    users = events.sort("user_id", "timestamp", maintain_order=True).group_by("user_id", maintain_order=True)
    return [row.to_numpy() for row in users.agg(pl.col("id").cast(pl.Int32)).get_column("id")]


_SAME_IDS = "Write ids as in the vocabularies."


@dataclass(frozen=True)
class CatalogueChange:
    """The items that a new vocabulary adds, retires and brings back.

    Args:
        added: items the run does not know, in the order of the new vocabulary.
        retired: items that leave the index now, in the order of the run's vocabulary.
        returned: retired items that the new vocabulary holds again.
        retired_before: items that were retired already and stay so.

    Example:
        >>> change = CatalogueChange.between(ItemVocabulary("abc"), ["c"], ItemVocabulary("bcd"))
        >>> change.added, change.retired, change.returned
        (('d',), ('a',), ('c',))
    """

    added: tuple[str, ...]
    retired: tuple[str, ...]
    returned: tuple[str, ...]
    retired_before: tuple[str, ...]

    @classmethod
    def between(
        cls, old: ItemVocabulary, retired: Sequence[str], new: ItemVocabulary, *, keep_missing: bool = False
    ) -> CatalogueChange:
        """Compare a run's catalogue with a new one.

        Args:
            old: the run's items.
            retired: those of them that are retired already.
            new: the items of the new catalogue.
            keep_missing: retire nothing that the new catalogue lacks. Default: False.

        Raises:
            InputError: the catalogues have no item in common, or nothing changes.
        """
        if not any(item in old for item in new):
            raise InputError(
                f"The new vocabulary ({new.n_items:,} items, the first {new.items[0]!r}) and the run's "
                f"({old.n_items:,} items, the first {old.items[0]!r}) have no item in common. "
                "Give the vocabulary of the same shop, with ids written as in the run."
            )
        before = set(retired)
        missing = () if keep_missing else tuple(item for item in old if item not in new and item not in before)
        change = cls(
            added=tuple(item for item in new if item not in old),
            retired=missing,
            returned=tuple(item for item in retired if item in new),
            retired_before=tuple(item for item in retired if item not in new),
        )
        if not (change.added or change.retired or change.returned):
            but = ", and with --keep-missing items it lacks stay" if keep_missing else ""
            raise InputError(f"The new vocabulary adds no item to the run and retires none{but}. Use the run as it is.")
        return change

    def all_retired(self, old: ItemVocabulary) -> tuple[str, ...]:
        """Return all items that are out of the index after the change, in the order of the run's vocabulary."""
        gone = {*self.retired_before, *self.retired}
        return tuple(item for item in old if item in gone)


def grow(
    run: str | Path,
    vocabulary: str | Path,
    out: str | Path,
    *,
    neighbours: str | Path | None = None,
    events: str | Path | None = None,
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str = "timestamp",
    keep_missing: bool = False,
    show_progress: bool = True,
) -> RunFolder:
    """Fit a run to a catalogue that has moved on.

    Items that the run does not know are added behind its own, which keep their ids and rows bit for bit. A new item's
    row is made of its neighbours' rows, given or met in events, see `neighbour_vectors`. Items that the new vocabulary
    lacks are retired: the model goes on reading them in histories, and they are no longer recommended. A retired item
    that the vocabulary holds again comes back.

    Args:
        run: a folder made by `laclrec-tf train` or by `grow`; it is not changed.
        vocabulary: the new catalogue: a text file of one item a line, or a folder made by `laclrec-tf prepare`.
        out: the run folder to make.
        neighbours: a table of `item`, `neighbour` and, if wanted, `weight`: what new items are like. Default: None.
        events: a table of recent events: new items without given neighbours get the rows of items they are met with,
            and all new items their popularity. Default: None, popularity 0.
        user_column: of the events. Default: "user_id".
        item_column: Default: "item_id".
        time_column: Default: "timestamp".
        keep_missing: retire nothing. Default: False.
        show_progress: Default: True.

    Returns:
        The new run; `record["growths"]` says of each growth, oldest first, what it changed.

    Raises:
        InputError: the run or a file cannot be read or has nothing to do with the run, nothing would change, or `out`
            exists already or cannot be written.
    """
    folder, vocabulary, out = RunFolder.open(run), Path(vocabulary), Path(out)
    files = {"neighbours": _path(neighbours), "events": _path(events)}
    check_new_run(out)
    new = PreparedData.open(vocabulary).vocabulary if vocabulary.is_dir() else ItemVocabulary.load(vocabulary)
    change = CatalogueChange.between(folder.vocabulary, folder.retired, new, keep_missing=keep_missing)
    popularity = folder.popularity
    with spinner(f"growing {run}", disable=not show_progress):
        model = folder.model
        _check_fit(folder)
        grown = ItemVocabulary([*folder.vocabulary, *change.added])
        rows = new_item_rows(
            model.encoder.item_table.numpy()[1:-2],
            grown,
            **files,
            columns={"user_column": user_column, "item_column": item_column, "time_column": time_column},
        )
        growth = _growth(folder, vocabulary, files, change, rows)
        with new_folder(out, lambda _: False):
            grown_model(model, rows.vectors).save(out / "model.keras")
            grown.save(out / "vocabulary.txt")
            np.save(out / "popularity.npy", np.concatenate([popularity, rows.popularity]))
            if retired := change.all_retired(folder.vocabulary):
                ItemVocabulary(retired).save(out / RETIRED_FILE)
            write_record(out, _record(folder, growth))
    return RunFolder.open(out)


def describe_growth(record: dict[str, Any]) -> str:
    """Say in a line what the last growth of a run changed, and what the new rows are made of.

    Args:
        record: `RunFolder.record` of a grown run.

    Example:
        >>> sources = {"neighbours": 2, "events": 0, "catalogue": 1}
        >>> growth = {"added": 3, "retired": 5, "returned": 1, "rows_from": sources}
        >>> describe_growth({"growths": [growth]})
        '3 added (rows from neighbours: 2, catalogue: 1), 5 retired, 1 brought back'
    """
    growth = record["growths"][-1]
    made = ", ".join(f"{source}: {count:,}" for source, count in growth["rows_from"].items() if count)
    rows = f" (rows from {made})" if made else ""
    return f"{growth['added']:,} added{rows}, {growth['retired']:,} retired, {growth['returned']:,} brought back"


def _path(file: str | Path | None) -> Path | None:
    return None if file is None else Path(file)


def _check_fit(folder: RunFolder) -> None:
    known, named = folder.model.n_items, folder.vocabulary.n_items
    if known != named:
        raise InputError(
            f"{folder.folder} is damaged: its model knows {known} items, vocabulary.txt names {named}. "
            "Train again with `laclrec-tf train`."
        )


def _growth(
    folder: RunFolder, vocabulary: Path, files: dict[str, Path | None], change: CatalogueChange, rows: NewItemRows
) -> dict[str, Any]:
    """Say what is changed, and by which files."""
    read = {"vocabulary": vocabulary / "vocabulary.txt" if vocabulary.is_dir() else vocabulary} | files
    return {
        "run": folder.folder.resolve().name,
        "data_hash": folder.record["data_hash"],
        "items_before": folder.vocabulary.n_items,
        "added": len(change.added),
        "retired": len(change.retired),
        "returned": len(change.returned),
        "rows_from": rows.sources,
        "inputs": {
            name: {"file": file.name, "sha256": file_sha256(file)} for name, file in read.items() if file is not None
        },
    }


def _record(folder: RunFolder, growth: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the grown run: the old one's, but for what was measured on the old catalogue."""
    record = {name: value for name, value in folder.record.items() if name != "validation"}
    if "validation" in folder.record:
        growth = growth | {"validation_before": folder.record["validation"]}
    return record | {
        "grown_from": growth["run"],
        "growths": [*record.get("growths", []), growth],
        "versions": package_versions(),
    }
