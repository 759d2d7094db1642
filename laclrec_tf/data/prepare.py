"""Prepare events for training: read, filter, order and number them, and write the folder of prepared data."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf
from rich.progress import Progress

from laclrec_tf.data.event_files import files_of
from laclrec_tf.data.events import FileSummary, read_interactions, table_interactions, warn_of_repeated_files
from laclrec_tf.data.filters.hold_out import held_out_counts, mark_held_out
from laclrec_tf.data.filters.k_core import k_core_and_dropped
from laclrec_tf.data.filters.missing_ids import warn_of_missing_ids
from laclrec_tf.data.filters.settings import Filters, warn_of_dropped
from laclrec_tf.data.filters.ties import shuffled_places, tie_counts, warn_of_sorted_ties
from laclrec_tf.data.formats.layouts import NO_TIME, Reading
from laclrec_tf.data.prepared import (
    DATASET_FILE,
    FORMAT_VERSION,
    HOLD_OUT_VERSION,
    VOCABULARY_FILE,
    PreparedData,
    write_histories,
)
from laclrec_tf.data.splits import Window, repeated_targets, repeats
from laclrec_tf.data.tables import is_table
from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.files import file_sha256
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.runtime.terminal import progress_bar


def prepare(
    events: Any,
    out: str | Path,
    *,
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
    hold_out: str = "last",
    validation_from: str | None = None,
    test_from: str | None = None,
    session_gap: float | None = None,
    reading: Reading | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
) -> PreparedData:
    """Convert events to histories, a vocabulary and a description.

    The steps, in this order: drop duplicates; drop users and items with too few events (iterative k-core); sort each
    user's events by time (see `ties` for equal times); keep the last `max_length` events, or with
    `window="sliding"` all of them. So a file that was filtered and cut to the last events before can lose items here:
    use `min_interactions=0` for it. Users are in the order of their first event in the files.

    A `DroppedEventsWarning` names a step that drops more than a fifth of the events. A `SortedTiesWarning` says that
    events of the same user and time are sorted by item, a `MissingIdsWarning` that an id such as `NA` has very many
    events, a `RepeatedFileWarning` that two files are the same.

    The folder is written under another name in the same place and renamed, so that an error leaves nothing
    half-written.

    Args:
        events: a file or several, see `read_interactions`; or a table of pandas, polars or pyarrow.
        out: the folder to create, with its parents.
        user_column: name of the column of user ids. Default: "user_id".
        item_column: name of the column of item ids. Default: "item_id".
        time_column: name of the column of timestamps. Default: "timestamp".
        min_interactions: `min_user_events` and `min_item_events` in one. Default: None.
        min_user_events: min number of events of a user; 0 or 1 keeps all. Default: None, `min_interactions` or 5.
        min_item_events: min number of events of an item; 0 or 1 keeps all. Default: None, `min_interactions` or 5.
        max_length: max number of events of a user that a model reads, at least 3. Default: None, the first of 50, 100
            and 200 that is enough for the whole histories of three quarters of the users, else 200.
        duplicates: "drop" keeps the first of events with the same user, item and timestamp, "keep" keeps all.
            Default: "drop".
        window: "last" keeps the last `max_length` events of a user, "sliding" keeps all, and training cuts longer
            histories into windows of `max_length` events. Default: None, "sliding" where more than a fifth of the
            events is older than a user's last `max_length`, else "last".
        ties: order of events with the same user and timestamp: "keep" keeps that of the files and rows, "shuffle" draws
            one. Default: "keep".
        seed: seed of shuffled ties. Default: 0.
        exclude_history: whether the items of a history are not to be recommended; training, evaluation and exports of
            the data follow it. Default: None, excluded unless more than 5 % of the users' newest items repeat one.
        hold_out: what evaluation holds out: "last", each user's last two items; "time", each user's first item from
            `validation_from` and from `test_from` on, of which nothing later is trained on; "session", the first items
            of each user's last two sessions. Default: "last".
        validation_from: for "time", a number in the unit of the times or a date. Default: None, with `test_from`, the
            times that leave a tenth of the events each for validation and test.
        test_from: for "time", see `validation_from`. Default: None.
        session_gap: for "session", a new session begins after more seconds than this without an event of the user; in
            the unit of the times if they do not look like dates; 0 for events of one time, as those of a basket.
            Default: None, 1,800.
        reading: how the files are read, and which events are left out, such as those with low ratings. Default: None,
            `Reading()`.
        overwrite: replace prepared data in `out`. Default: False.
        show_progress: show a progress bar, and what was recognised of the files, on standard error. Default: True.

    Returns:
        The prepared data, opened.

    Raises:
        InputError: an argument or an event is invalid, no event is left, or `out` cannot be created or replaced.

    Example:
        >>> data = prepare("events.csv", "data", min_interactions=2)  # doctest: +SKIP
        >>> data = prepare(pandas.read_sql(query, shop), "data")  # doctest: +SKIP
    """
    out = Path(out)
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
        hold_out=hold_out,
        validation_from=validation_from,
        test_from=test_from,
        session_gap=session_gap,
    )
    _check_out(out, overwrite)
    columns = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    reading, dropped = reading or Reading(), Counter[str]()
    with progress_bar(disable=not show_progress) as progress:
        say = progress.console.print if show_progress else None
        table, inputs, source = _read(events, columns, reading, dropped, progress, say)
        if filters.hold_out != "last" and (
            not reading.time or any(NO_TIME in each.get("read_as", "") for each in inputs)
        ):
            raise InputError(
                f"{source}: `hold_out`={filters.hold_out!r} needs times, but the events have none. Give a time column, "
                "or hold out each user's last events: --hold-out last."
            )
        filtering = progress.add_task("Filtering", total=None)
        warn_of_missing_ids(table)
        try:
            histories, items, counts, filters = histories_of(table, filters)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        progress.update(filtering, total=1, completed=1)
        del table
        counts = counts | {"rows_read": counts["rows_read"] + dropped.total()} | dropped
        settings = filters.settings() | reading.settings()
        warn_of_dropped(counts, settings)
        warn_of_sorted_ties(counts, settings)

        writing = progress.add_task("Writing", total=histories.height)
        about = description(counts, inputs, columns | settings)
        _write(out, about, items, histories, lambda users: progress.advance(writing, users))
    return PreparedData.open(out)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Give a folder to create with --out.")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names and not overwrite:
        raise InputError(f"{out} is not empty. Give another --out, or delete it first.")
    others = [name for name in names if not fnmatch.fnmatch(name, "histories-*.tfrecord")]
    strange = sorted(set(others) - {DATASET_FILE, VOCABULARY_FILE})
    if strange:
        raise InputError(f"{out} is not replaced, because it also contains {strange[0]!r}. Give another --out.")


def _eager(events: Any) -> Any:
    """Return a table, or the files that `events` names; refuse anything else by its type."""
    if isinstance(events, pl.LazyFrame):
        return events.collect()
    if type(events).__name__ == "RecordBatch":
        return pl.DataFrame(events)
    if is_table(events) or isinstance(events, (str, Path)):
        return events
    if isinstance(events, (list, tuple)) and all(isinstance(file, (str, Path)) for file in events):
        return events
    received = f"a {type(events).__name__}"
    if isinstance(events, (list, tuple)):
        other = next(each for each in events if not isinstance(each, (str, Path)))
        received += f" with a {type(other).__name__}"
    raise InputError(
        "Argument `events` must be a file, a list of files, or one table of pandas, polars or pyarrow. "
        f"Received: {received}. Convert it to a table, e.g. pandas.DataFrame(events), or join tables first."
    )


def _read(
    events: Any,
    columns: Mapping[str, Any],
    reading: Reading,
    dropped: Counter[str],
    progress: Progress,
    say: Callable[[str], None] | None,
) -> tuple[pl.DataFrame, list[dict[str, Any]], str]:
    """Return the events, the `inputs` of `description`, and the name of the events for messages.

    Events that are left out are added to `dropped`, and `say` is called with what was recognised of the files.
    """
    events = _eager(events)
    if is_table(events):
        task = progress.add_task("Reading", total=1)
        table = table_interactions(events, **columns, reading=reading, dropped=dropped)
        progress.advance(task)
        name = f"{type(events).__module__.partition('.')[0]}.{type(events).__name__}"
        return table, [{"file": name, "sha256": _table_sha256(table), "rows": table.height}], "The table"
    files = files_of([events] if isinstance(events, str | Path) else events)
    task = progress.add_task("Reading", total=len(files))
    inputs: list[dict[str, Any]] = []

    def note_input(file: Path, found: FileSummary) -> None:
        if say is not None and found.note is not None and found.note not in (each.get("read_as") for each in inputs):
            say(f"{file}: {found.note}")
        inputs.append(found.record(file.name, file_sha256(file)))
        dropped.update(found.dropped)
        progress.advance(task)

    table = read_interactions(files, **columns, reading=reading, on_file=note_input)
    warn_of_repeated_files([str(file) for file in files], [each["sha256"] for each in inputs])
    return table, inputs, ", ".join(str(file) for file in files[:3]) + (", ..." if len(files) > 3 else "")


def _table_sha256(table: pl.DataFrame) -> str:
    """Hash the events as CSV, so that the library that holds the table does not matter."""
    hashed = hashlib.sha256()
    for part in table.iter_slices(100_000):
        text = io.BytesIO()
        part.write_csv(text)
        hashed.update(text.getbuffer())
    return hashed.hexdigest()


def histories_of(table: pl.DataFrame, filters: Filters) -> tuple[pl.DataFrame, list[str], dict[str, Any], Filters]:
    """Filter, order and number events, as described in `prepare`.

    Args:
        table: the result of `read_interactions`.
        filters: the settings.

    Returns:
        Users with lists of item ids (`user_id` String, `item_ids` list of integers); the items by id, the first of
        which is item 1; the counts; and the settings with those that follow from the data.

    Raises:
        InputError: no events are left.
    """
    counts: dict[str, Any] = {"rows_read": table.height, "users_read": 0, "items_read": 0}
    # Small integers from here on. A user's number is the order of appearance, so sorting keeps that order.
    users, items = (table[name].unique(maintain_order=True) for name in ("user_id", "item_id"))
    counts |= {"users_read": len(users), "items_read": len(items)}
    table = table.with_columns(pl.col("user_id").cast(pl.Enum(users)), pl.col("item_id").cast(pl.Enum(items)))
    shuffle = ["place"] if filters.ties == "shuffle" else []
    if shuffle:
        table = table.with_columns(place=shuffled_places(np.arange(table.height), filters.seed))
    if filters.duplicates == "drop":
        table = table.unique(["user_id", "item_id", "timestamp"], maintain_order=True, keep="first")
    counts["duplicates_dropped"] = counts["rows_read"] - table.height
    core, of_rare_items = k_core_and_dropped(table, filters.min_user_events, filters.min_item_events)
    below = table.height - core.height
    counts["below_min_interactions_dropped"] = below
    counts |= {"below_min_item_events_dropped": of_rare_items, "below_min_user_events_dropped": below - of_rare_items}

    lengths = core.group_by("user_id").len()["len"]
    filters = filters.for_users(
        [int((lengths <= length).sum()) / max(len(lengths), 1) for length in filters.lengths],
        [int(lengths.clip(upper_bound=length).sum()) / max(core.height, 1) for length in filters.lengths],
    )
    core = core.sort("user_id", "timestamp", maintain_order=True)
    counts |= tie_counts(core)
    if shuffle:
        core = core.sort("user_id", "timestamp", *shuffle)
    events = core.select("user_id", "item_id", "timestamp")
    marks = []
    if filters.hold_out != "last":
        events, found = mark_held_out(events, filters)
        counts |= found
        marks = [pl.col("before_validation").sum(), pl.col("before_test").sum()]
    elif filters.max_kept is not None:
        events = events.group_by("user_id", maintain_order=True).tail(filters.max_kept)
    counts["beyond_max_length_dropped"] = core.height - events.height
    # With a sampled softmax the order of the ids stands for popularity, so what is held out by time must not decide it.
    trained = [pl.col("before_validation").sum().alias("trained")] if marks else []
    catalogue = (
        events.group_by("item_id")
        .agg(*trained, pl.len())
        .with_columns(pl.col("item_id").cast(pl.String))
        .sort(*["trained"] * bool(marks), "len", "item_id", descending=[*[True] * bool(marks), True, False])["item_id"]
    )
    histories = (
        events.with_columns(item_ids=pl.col("item_id").cast(pl.String).cast(pl.Enum(catalogue)).to_physical() + 1)
        .group_by("user_id", maintain_order=True)
        .agg("item_ids", *marks)
        .with_columns(pl.col("user_id").cast(pl.String))
    )
    counts["items_beyond_max_length_dropped"] = core["item_id"].n_unique() - len(catalogue)
    counts = {"users": histories.height, "items": len(catalogue), "events": events.height} | counts
    rows = (row for part in histories.iter_slices(10_000) for row in part.drop("user_id").iter_rows())
    counts |= repeated_targets(repeats(items, before or None) for items, *before in rows)
    if marks:
        counts |= held_out_counts(histories)
    return histories, catalogue.to_list(), counts, filters


def description(counts: dict[str, Any], inputs: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `dataset.json`, without the shards.

    Args:
        counts: numbers of "users", "items" and "events", of what was read and dropped, and shares. "users_read" and
            "items_read" are those of the rows that were not left out for a missing id or a low rating.
        inputs: "file", "sha256" and "rows" of each file.
        settings: the arguments of `prepare`.
    """
    input_sha256 = hashlib.sha256("".join(each["sha256"] for each in inputs).encode()).hexdigest()
    hashed = json.dumps({"input_sha256": input_sha256, "settings": settings}, sort_keys=True)
    return {
        "format_version": HOLD_OUT_VERSION if "hold_out" in settings else FORMAT_VERSION,
        "counts": counts,
        "input": inputs,
        "input_sha256": input_sha256,
        "settings": settings,
        "data_hash": hashlib.sha256(hashed.encode()).hexdigest(),
    }


def _write(
    out: Path,
    about: dict[str, Any],
    items: list[str],
    histories: pl.DataFrame,
    on_written: Callable[[int], None],
) -> None:
    target = out.resolve()
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    replaced = target.with_name(f"{target.name}.replaced-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        ItemVocabulary(items).save(partial / VOCABULARY_FILE)
        about["shards"] = write_histories(partial, histories, on_written)
        (partial / DATASET_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if target.exists():
            target.rename(replaced)  # the old data stays complete until the new data has its name
        try:
            partial.rename(target)
        except BaseException:
            if replaced.exists():
                replaced.rename(target)
            raise
    except (OSError, tf.errors.OpError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error.message.splitlines()[0]
        raise InputError(f"Cannot write {out}: {reason}. Choose a folder that can be written.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
