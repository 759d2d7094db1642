"""Grow a run: new items come in, retired ones leave the index, and nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models.grown_model import grown_model
from laclrec_tf.run_folder import RETIRED_FILE, RunFolder, check_new_run, package_versions, write_record
from laclrec_tf.runtime.output_files import new_folder
from laclrec_tf.runtime.terminal import spinner
from pipelines.catalogue_change import CatalogueChange
from pipelines.new_item_rows import NewItemRows, new_item_rows


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
