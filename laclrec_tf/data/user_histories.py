"""Histories of users from prepared data or from files of events, with a fingerprint of where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.prepare import histories_of
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256

COLUMNS = {"user_column": "user_id", "item_column": "item_id", "time_column": "timestamp"}


@dataclass(frozen=True)
class UserHistories:
    """Users and what each of them met.

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
    """Read histories from a folder that `prepare` made, or from files of events.

    Events become histories as in `prepare` with `min_interactions=0`: duplicates go, the rest is sorted by time.

    Args:
        sources: one folder, or files, see `read_interactions`.
        max_length: most recent events of each user. Default: 50 of files; of a folder, what it was prepared with.
        columns: `user_column`, `item_column` and `time_column` of the files, as far as they have other names than
            those of `read_interactions`. Default: none has.

    Returns:
        Users in the order of the folder, or of their first event in the files.

    Raises:
        InputError: `max_length` is below 1, a folder comes with files, columns or another folder, or something
            cannot be read.

    Example:
        >>> read_user_histories(["beauty"]).user_ids[:2]  # doctest: +SKIP
        ['A1', 'A2']
    """
    if max_length is not None and max_length < 1:
        raise InputError(f"Argument `max_length` must be at least 1. Received: {max_length}.")
    paths = [Path(source) for source in sources]
    columns = {**COLUMNS, **(columns or {})}
    folders = [path for path in paths if path.is_dir()]
    if folders:
        if len(paths) > 1:
            raise InputError(f"{folders[0]} is a folder. Give one prepared folder alone, or files of events.")
        if columns != COLUMNS:
            raise InputError(f"{folders[0]} is a folder, and columns are named for files of events. Leave them out.")
        return _of_folder(folders[0], max_length)
    max_length = 50 if max_length is None else max_length
    table = read_interactions(
        paths,
        user_column=columns["user_column"],
        item_column=columns["item_column"],
        time_column=columns["time_column"],
    )
    about = [[file_sha256(path) for path in paths], sorted(columns.items()), max_length]
    rows, items, _ = histories_of(table, 0, max_length, "drop")
    named = [[items[item_id - 1] for item_id in item_ids] for item_ids in rows["item_ids"].to_list()]
    return UserHistories(rows["user_id"].to_list(), named, _fingerprint(about))


def _of_folder(folder: Path, max_length: int | None) -> UserHistories:
    data = PreparedData.open(folder)
    user_ids, histories = data.histories()
    last = -max_length if max_length is not None else None
    named = [data.vocabulary.to_items(item_ids[last:].tolist()) for item_ids in histories]
    return UserHistories(user_ids, named, _fingerprint([data.data_hash, max_length]))


def _fingerprint(about: list[Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
