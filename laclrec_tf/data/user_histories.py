"""Histories of users as item strings, from prepared data or files of events, with a fingerprint of their source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.data.event_files import files_of
from laclrec_tf.data.events import read_interactions, warn_of_repeated_files
from laclrec_tf.data.filters.settings import Filters
from laclrec_tf.data.prepare import histories_of
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import Window
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256

COLUMNS = {"user_column": "user_id", "item_column": "item_id", "time_column": "timestamp"}


@dataclass(frozen=True)
class UserHistories:
    """Users with their histories.

    Args:
        user_ids: the users.
        histories: per user the item strings, oldest first.
        fingerprint: equal for equal files and arguments.
    """

    user_ids: Sequence[str]
    histories: Sequence[Sequence[str]]
    fingerprint: str

    def __repr__(self) -> str:
        return f"UserHistories({len(self.user_ids):,} users, {sum(map(len, self.histories)):,} events)"


def read_user_histories(
    sources: Sequence[str | Path], *, max_length: int | None = None, columns: Mapping[str, str] | None = None
) -> UserHistories:
    """Read histories from a folder of prepared data, or from files of events.

    Events become histories as in `prepare` with `min_interactions=0`: duplicates are dropped, the rest is sorted by
    time.

    Args:
        sources: one folder, or files and patterns, see `read_interactions`.
        max_length: max number of events of a user; the most recent ones are kept. Default: all, because a model
            recommends none of them, or as many as a folder has.
        columns: `user_column`, `item_column` and `time_column` of the files, where they differ from the defaults of
            `read_interactions`. Default: none.

    Returns:
        Users in the order of the folder, or of their first event in the files.

    Raises:
        InputError: `max_length` is below 1, a folder is combined with files, columns or another folder, or a source
            cannot be read.

    Example:
        >>> read_user_histories(["beauty"]).user_ids[:2]  # doctest: +SKIP
        ['A1', 'A2']
    """
    if max_length is not None and max_length < 1:
        raise InputError(f"Argument `max_length` must be at least 1. Received: {max_length}.")
    paths = [Path(source) for source in sources]
    names: dict[str, Any] = {**COLUMNS, **(columns or {})}
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        paths = files_of(paths)
        table = read_interactions(paths, **names)
        # Not checked: `max_length` may be below what training needs.
        window: Window = "sliding" if max_length is None else "last"
        filters = Filters(min_user_events=0, min_item_events=0, max_length=max_length or 1, window=window)
        rows, items, *_ = histories_of(table, filters)
        named = [[items[item_id - 1] for item_id in item_ids] for item_ids in rows["item_ids"].to_list()]
        digests = [file_sha256(path) for path in paths]
        warn_of_repeated_files([str(path) for path in paths], digests)
        about: list[Any] = [digests, sorted(names.items()), max_length]
        return UserHistories(rows["user_id"].to_list(), named, _fingerprint(about))
    if len(paths) > 1:
        raise InputError(f"{folders[0]} is a folder. Give one prepared folder alone, or files of events.")
    if names != COLUMNS:
        raise InputError(f"{folders[0]} is a folder, but columns apply to files of events only. Leave them out.")
    data = PreparedData.open(folders[0])
    user_ids, histories = data.histories()
    last = -max_length if max_length is not None else None
    named = [data.vocabulary.to_items(item_ids[last:].tolist()) for item_ids in histories]
    return UserHistories(user_ids, named, _fingerprint([data.data_hash, max_length]))


def _fingerprint(about: list[Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
