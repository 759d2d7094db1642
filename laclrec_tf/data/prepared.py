"""A folder of prepared data: catalogue, histories and how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.data.history_records import read_shard
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

FORMAT_VERSION = 1
DATASET_FILE = "dataset.json"
VOCABULARY_FILE = "vocabulary.txt"
_REMEDY = "Prepare the data again with `laclrec-tf prepare`."


@dataclass(frozen=True)
class PreparedData:
    """What `laclrec-tf prepare` wrote.

    Args:
        folder: where it is.
        vocabulary: the catalogue, most frequent item first.
        shards: the TFRecord files of histories, in order.
        max_length: the most events of a user that were kept.
        data_hash: sha256 over the input files and the settings.
        counts: "users", "items", "events", and what was read and dropped.
        settings: the arguments of `prepare`.

    Example:
        >>> data = PreparedData.open("beauty")  # doctest: +SKIP
        >>> user_ids, histories = data.histories()  # doctest: +SKIP
    """

    folder: Path
    vocabulary: ItemVocabulary
    shards: tuple[Path, ...]
    max_length: int
    data_hash: str
    counts: Mapping[str, int] = field(hash=False)
    settings: Mapping[str, Any] = field(hash=False)

    @classmethod
    def open(cls, folder: str | Path) -> PreparedData:
        """Read what the folder holds, but for the histories.

        Args:
            folder: what `laclrec-tf prepare --out` was given.

        Raises:
            InputError: the folder is missing, is no prepared data, is of another format version or damaged.
        """
        folder = Path(folder)
        about = _read_description(folder)
        version = about.get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{folder} holds data of format version {version}, "
                f"this program reads version {FORMAT_VERSION}. {_REMEDY}"
            )
        try:
            data = cls(
                folder=folder,
                vocabulary=ItemVocabulary.load(folder / VOCABULARY_FILE),
                shards=tuple(folder / name for name in about["shards"]),
                max_length=int(about["settings"]["max_length"]),
                data_hash=str(about["data_hash"]),
                counts={name: int(count) for name, count in about["counts"].items()},
                settings=about["settings"],
            )
            complete = data.vocabulary.n_items == data.counts["items"] and data.counts["users"] > 0
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise InputError(f"{error} {_REMEDY}") from None
            raise InputError(f"{folder / DATASET_FILE} is damaged. {_REMEDY}") from None
        if not complete or not data.shards:
            raise InputError(f"{folder / DATASET_FILE} and {VOCABULARY_FILE} do not fit together. {_REMEDY}")
        for shard in data.shards:
            if not shard.is_file():
                raise InputError(f"{shard} is missing. {_REMEDY}")
        return data

    def histories(self, part: int = 0, parts: int = 1) -> tuple[list[str], list[np.ndarray]]:
        """Read histories into memory: all, or one part of several that hold each user once.

        Args:
            part: which, from 0. Default: 0.
            parts: of how many. A part is some of the shards; with more parts than shards several read the same one.
                Default: 1, everything.

        Returns:
            User ids, and per user `[n]` int32 item ids, oldest first; shard by shard, in file order.

        Raises:
            InputError: a shard is missing or damaged; the message names the file.
        """
        user_ids: list[str] = []
        histories: list[np.ndarray] = []
        n_shards = len(self.shards)
        mine = range(part, n_shards, parts) if parts <= n_shards else [part % n_shards]
        for index in mine:
            shard = self.shards[index]
            users, items = read_shard(shard)
            # Users are dealt out round-robin. A file cut between two records reads without an error.
            expected = len(range(index, self.counts["users"], len(self.shards)))
            if len(users) != expected:
                raise InputError(f"{shard} holds {len(users)} users instead of {expected}. {_REMEDY}")
            flat = np.concatenate(items)
            if flat.size and not (flat.min() >= 1 and flat.max() <= self.vocabulary.n_items):
                raise InputError(f"{shard} holds items that {VOCABULARY_FILE} does not name. {_REMEDY}")
            user_ids.extend(users)
            histories.extend(items)
        if parts > n_shards:
            readers = len(range(part % n_shards, parts, n_shards))  # of this shard
            place = part // n_shards
            return user_ids[place::readers], histories[place::readers]
        return user_ids, histories

    def __repr__(self) -> str:
        held = ", ".join(f"{self.counts[name]:,} {name}" for name in ("users", "items", "events"))
        return f"PreparedData({str(self.folder)!r}: {held}, the last {self.max_length} of a user)"


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / DATASET_FILE
    if not file.is_file():
        problem = f"it has no {DATASET_FILE}" if folder.is_dir() else "there is no such folder"
        raise InputError(f"{folder} is no prepared data: {problem}. Make it with `laclrec-tf prepare`.")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict):
        raise InputError(f"{file} is damaged. {_REMEDY}")
    return about
