"""A folder of prepared data: catalogue, histories and how they were made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

# For `tf.io.parse_example`: one user a record, items oldest first.
HISTORY_FEATURES = {
    "user_id": tf.io.FixedLenFeature([], tf.string),
    "item_ids": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}
# Each of several workers reads shards of its own, so there are more of them where more workers pay.
MIN_SHARDS, MAX_SHARDS, USERS_IN_A_SHARD = 4, 64, 250_000
_BATCH = 4096
FORMAT_VERSION = 1
DATASET_FILE = "dataset.json"
VOCABULARY_FILE = "vocabulary.txt"
_REMEDY = "Prepare the data again with `laclrec-tf prepare`."


def write_histories(
    folder: Path, histories: pl.DataFrame, on_written: Callable[[int], None] | None = None
) -> list[str]:
    """Write histories round-robin into the shards of `shard_names`: user 0 to shard 0, user 1 to shard 1, and so on.

    Args:
        folder: an existing folder.
        histories: columns `user_id` (String) and `item_ids` (list of integers), one row a user.
        on_written: called with the number of users of every few thousand written. Default: None.

    Returns:
        The files' names, such as "histories-00000-of-00004.tfrecord".

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_histories(folder, pl.DataFrame({"user_id": ["ann"], "item_ids": [[3, 1]]}))
        ['histories-00000-of-00001.tfrecord']
        >>> read_shard(folder / "histories-00000-of-00001.tfrecord")
        (['ann'], [array([3, 1], dtype=int32)])
    """
    names = shard_names(histories.height)
    n_shards = len(names)
    for shard, name in enumerate(names):
        part = histories.gather_every(n_shards, offset=shard)
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for chunk in part.iter_slices(_BATCH):
                for user_id, item_ids in chunk.select("user_id", "item_ids").iter_rows():
                    writer.write(serialise_history(user_id, item_ids))
                if on_written is not None:
                    on_written(chunk.height)
    return names


def shard_names(n_users: int) -> list[str]:
    """Name the shards of so many users: four, beyond a million one for every 250,000, and 64 at most.

    Args:
        n_users: how many; with fewer than four users each has a shard.

    Example:
        >>> shard_names(2)
        ['histories-00000-of-00002.tfrecord', 'histories-00001-of-00002.tfrecord']
    """
    wanted = min(max(math.ceil(n_users / USERS_IN_A_SHARD), MIN_SHARDS), MAX_SHARDS)
    n_shards = max(1, min(wanted, n_users))
    return [f"histories-{shard:05d}-of-{n_shards:05d}.tfrecord" for shard in range(n_shards)]


def read_shard(file: Path) -> tuple[list[str], list[np.ndarray]]:
    """Read one shard.

    Args:
        file: a file that `write_histories` wrote.

    Returns:
        User ids, and per user `[n]` int32 item ids, oldest first, in file order.

    Raises:
        InputError: the file is missing or damaged.
    """
    user_ids: list[bytes] = []
    items, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    batches = tf.data.TFRecordDataset(str(file)).batch(_BATCH)
    try:
        for users, flat, row_lengths in batches.map(_parse).as_numpy_iterator():
            user_ids.extend(users.tolist())
            items.append(flat)
            lengths.append(row_lengths)
    except tf.errors.NotFoundError:
        raise InputError(f"{file} is missing. Prepare the data again with `laclrec-tf prepare`.") from None
    except tf.errors.OpError:
        raise InputError(f"{file} is damaged or cut off. Prepare the data again with `laclrec-tf prepare`.") from None
    ends = np.cumsum(np.concatenate(lengths))
    histories = np.split(np.concatenate(items).astype(np.int32), ends[:-1]) if ends.size else []
    return [user_id.decode("utf-8") for user_id in user_ids], histories


def _parse(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    features = tf.io.parse_example(records, HISTORY_FEATURES)
    return features["user_id"], features["item_ids"].values, features["item_ids"].row_lengths()


def serialise_history(user_id: str, item_ids: list[int]) -> bytes:
    """Return the record of a user; equal for equal arguments.

    Args:
        user_id: the user.
        item_ids: oldest first.
    """
    features = {
        "user_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[user_id.encode("utf-8")])),
        "item_ids": tf.train.Feature(int64_list=tf.train.Int64List(value=item_ids)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # A fixed order of the two features gives the same bytes on every run.
    return bytes(example.SerializeToString(deterministic=True))


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
