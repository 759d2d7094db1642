"""Grow a run: add new items and retire old ones without training."""

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

_SAME_IDS = "Write ids as in the vocabularies."


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
    """Adapt a run to a changed catalogue.

    Items that the run does not know are added after its own items, whose ids and rows stay the same bit for bit. The
    row of a new item is computed from the rows of its neighbours, which are given or found in events, see
    `neighbour_vectors`. Items that are missing in the new vocabulary are retired: the model still reads them in
    histories, but they are no longer recommended. A retired item that is in the new vocabulary returns.

    Args:
        run: folder made by `laclrec-tf train` or by `grow`; it is not changed.
        vocabulary: new catalogue: a text file with one item a line, or a folder made by `laclrec-tf prepare`.
        out: run folder to write.
        neighbours: table of similar items of new items, with the columns `item`, `neighbour` and optionally `weight`.
            Default: None.
        events: table of recent events. New items without given neighbours get their rows from the items that occur
            with them, and all new items get their popularity. Default: None, popularity 0.
        user_column: column of the events' user id. Default: "user_id".
        item_column: column of the events' item id. Default: "item_id".
        time_column: column of the events' time. Default: "timestamp".
        keep_missing: whether to retire nothing. Default: False.
        show_progress: whether to show that the command is running. Default: True.

    Returns:
        The new run; `record["growths"]` describes the changes of each growth, oldest first.

    Raises:
        InputError: the run or a file cannot be read, a file does not fit the run, nothing would change, or `out`
            exists or cannot be written.
    """
    folder, vocabulary, out = RunFolder.open(run), Path(vocabulary), Path(out)
    given = {"neighbours": neighbours, "events": events}
    files = {name: None if file is None else Path(file) for name, file in given.items()}
    check_new_run(out)
    folder.check_vectors()
    new = PreparedData.open(vocabulary).vocabulary if vocabulary.is_dir() else ItemVocabulary.read(vocabulary)
    change = CatalogueChange.between(folder.vocabulary, folder.retired, new, keep_missing=keep_missing)
    popularity = folder.popularity
    with spinner(f"growing {run}", disable=not show_progress):
        model = folder.compiled_model()
        if model.n_items != folder.vocabulary.n_items:
            raise InputError(
                f"{folder.folder} is damaged: its model has {model.n_items} items, but vocabulary.txt has "
                f"{folder.vocabulary.n_items}. Train again with `laclrec-tf train`."
            )
        grown = ItemVocabulary([*folder.vocabulary, *change.added])
        rows = new_item_rows(
            model.encoder.item_table.numpy()[1:-2],
            grown,
            **files,
            columns={"user_column": user_column, "item_column": item_column, "time_column": time_column},
        )
        growth = _growth(folder, vocabulary, files, change, rows)
        with new_folder(out, lambda _: False):
            counts = np.concatenate([popularity, rows.popularity])
            larger = grown_model(model, rows.vectors)
            larger.mixture.set_popularity(counts)
            larger.save(out / "model.keras")
            grown.save(out / "vocabulary.txt")
            np.save(out / "popularity.npy", counts)
            if retired := change.all_retired(folder.vocabulary):
                ItemVocabulary(retired).save(out / RETIRED_FILE)
            write_record(out, _record(folder, growth))
    return RunFolder.open(out)


def _growth(
    folder: RunFolder, vocabulary: Path, files: dict[str, Path | None], change: CatalogueChange, rows: NewItemRows
) -> dict[str, Any]:
    """Describe the changes and the files they are based on."""
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
    """Return the record of the grown run: the old one without what was measured on the old catalogue."""
    record = {name: value for name, value in folder.record.items() if name != "validation"}
    if "validation" in folder.record:
        growth = growth | {"validation_before": folder.record["validation"]}
    return record | {
        "grown_from": growth["run"],
        "growths": [*record.get("growths", []), growth],
        "versions": package_versions(),
    }


def describe_growth(record: dict[str, Any]) -> str:
    """Describe in one line what the last growth of a run changed, and the sources of the new rows.

    Args:
        record: `RunFolder.record` of a grown run.

    Example:
        >>> sources = {"neighbours": 2, "events": 0, "catalogue": 1}
        >>> growth = {"added": 3, "retired": 5, "returned": 1, "rows_from": sources}
        >>> describe_growth({"growths": [growth]})
        '3 added (rows from neighbours: 2, catalogue: 1), 5 retired, 1 brought back'
    """
    growth = record["growths"][-1]
    sources = ", ".join(f"{source}: {count:,}" for source, count in growth["rows_from"].items() if count)
    rows = f" (rows from {sources})" if sources else ""
    return f"{growth['added']:,} added{rows}, {growth['retired']:,} retired, {growth['returned']:,} brought back"


@dataclass(frozen=True)
class CatalogueChange:
    """The items that a new vocabulary adds, retires and returns.

    Args:
        added: items that the run does not know, in the order of the new vocabulary.
        retired: items that are retired now, in the order of the run's vocabulary.
        returned: retired items that are in the new vocabulary.
        retired_before: items that were retired before and stay retired.

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
            old: items of the run.
            retired: items of the run that are already retired.
            new: items of the new catalogue.
            keep_missing: whether to keep items that are missing in the new catalogue. Default: False.

        Raises:
            InputError: the catalogues have no item in common, or nothing changes.
        """
        if not any(item in old for item in new):
            raise InputError(
                f"The new vocabulary ({new.n_items:,} items, the first {new.items[0]!r}) and the run's "
                f"({old.n_items:,} items, the first {old.items[0]!r}) have no item in common. "
                "Give a vocabulary of the same shop, with ids written as in the run."
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
            kept = ", because --keep-missing keeps missing items" if keep_missing else ""
            raise InputError(
                f"The new vocabulary adds no item to the run and retires none{kept}. Use the run as it is."
            )
        return change

    def all_retired(self, old: ItemVocabulary) -> tuple[str, ...]:
        """Return all items that are retired after the change, in the order of the run's vocabulary."""
        retired = {*self.retired_before, *self.retired}
        return tuple(item for item in old if item in retired)


def new_item_rows(
    table: np.ndarray,
    vocabulary: ItemVocabulary,
    *,
    neighbours: Path | None = None,
    events: Path | None = None,
    columns: dict[str, str] | None = None,
) -> NewItemRows:
    """Compute the rows of new items.

    Args:
        table: `[N, D]` rows of the old items, item 1 first.
        vocabulary: the old items, followed by the `A` new ones.
        neighbours: file for `read_neighbours`. An item with a given neighbour that is known gets its row from those.
            Default: None.
        events: file for `read_interactions`, used for the rows of all other items and for the counts of all.
            Default: None.
        columns: names of the events' columns, as arguments of `read_interactions`. Default: its defaults.

    Returns:
        The rows; an item without any neighbour gets the mean of all old rows.

    Raises:
        InputError: a file cannot be read, or has no item of `vocabulary`.
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
    found, is_found = neighbour_vectors(weights["events"], table)  # the mean of all rows if no neighbour is found
    n_given, n_found = int(is_given.sum()), int((is_found & ~is_given).sum())
    return NewItemRows(
        vectors=np.where(is_given[:, np.newaxis], given, found),
        popularity=counts,
        sources={"neighbours": n_given, "events": n_found, "catalogue": n_new - n_given - n_found},
    )


def _given_weights(file: Path, vocabulary: ItemVocabulary, n_items: int) -> scipy.sparse.csr_array:
    """Return the weights of old items as neighbours of new ones, `[A, N]`; all other pairs are ignored."""
    pairs = read_neighbours(file)
    items, others = (np.array(vocabulary.to_ids(pairs[name])) for name in ("item", "neighbour"))
    if not items.any():
        raise InputError(f"{file}: its items are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    if not others.any():
        raise InputError(f"{file}: its neighbours are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    used = (items > n_items) & (others > 0) & (others <= n_items)
    places = (items[used] - n_items - 1, others[used] - 1)
    shape = (vocabulary.n_items - n_items, n_items)
    return scipy.sparse.csr_array((pairs["weight"].to_numpy()[used], places), shape=shape)  # sums repeated pairs


def _histories(file: Path, vocabulary: ItemVocabulary, columns: dict[str, Any]) -> list[np.ndarray]:
    """Return per user the ids of known items, oldest first; a repeated event counts once, as in `prepare`."""
    items = pl.DataFrame({"item_id": vocabulary.items}).with_row_index("id", offset=1)
    events = read_interactions([file], **columns).unique(maintain_order=True, keep="first")
    events = events.join(items, on="item_id", how="inner", maintain_order="left")
    if events.is_empty():
        raise InputError(f"{file}: its items are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    users = events.sort("user_id", "timestamp", maintain_order=True).group_by("user_id", maintain_order=True)
    return [row.to_numpy() for row in users.agg(pl.col("id").cast(pl.Int32)).get_column("id")]


@dataclass(frozen=True)
class NewItemRows:
    """Initial rows of a run's new items.

    Args:
        vectors: `[A, D]` float32 rows of the item table.
        popularity: `[A]` int64, number of events of each item.
        sources: number of rows computed from "neighbours", "events" and the whole "catalogue".
    """

    vectors: np.ndarray
    popularity: np.ndarray
    sources: dict[str, int]
