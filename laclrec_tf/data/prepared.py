"""A folder of prepared data: the catalogue, the histories as TFRecords, and a description of how they were made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf

from laclrec_tf.data.splits import SplitHistories, Window, repeated_targets, repeats
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

FORMAT_VERSION = 1  # of data that holds out each user's last two items
HOLD_OUT_VERSION = 2  # of data that holds out other items
DATASET_FILE = "dataset.json"
VOCABULARY_FILE = "vocabulary.txt"
# The features of a record, for `tf.io.parse_example`: one user a record, items oldest first.
HISTORY_FEATURES = {
    "user_id": tf.io.FixedLenFeature([], tf.string),
    "item_ids": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}
# Numbers of events before the validation item and before the test item; in data of `HOLD_OUT_VERSION` only.
BEFORE_FEATURE = {"before": tf.io.FixedLenFeature([2], tf.int64)}
# Each of several workers reads its own shards, so large data has more of them.
MIN_SHARDS, MAX_SHARDS, USERS_IN_A_SHARD = 4, 64, 250_000
MAX_REPEATED = 0.05
_BATCH = 4096
_REMEDY = "Prepare the data again with `laclrec-tf prepare`."


@dataclass(frozen=True)
class PreparedData:
    """The data that `laclrec-tf prepare` wrote.

    Args:
        folder: the folder of the data.
        vocabulary: the catalogue, most frequent item first.
        shards: the TFRecord files of histories, in order.
        max_length: max number of events of a user that a model reads.
        data_hash: SHA-256 of the input files and the settings.
        counts: numbers of "users", "items" and "events", and of what was read and dropped; and shares from 0 to 1, such
            as `repeated_targets`.
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
    counts: Mapping[str, Any] = field(hash=False)
    settings: Mapping[str, Any] = field(hash=False)

    @classmethod
    def open(cls, folder: str | Path) -> PreparedData:
        """Read the description and the catalogue; histories are read by `histories`.

        Args:
            folder: the folder that `laclrec-tf prepare --out` wrote.

        Raises:
            InputError: the folder is missing, is not prepared data, has another format version or is damaged.
        """
        folder = Path(folder)
        about = _read_description(folder)
        version = about.get("format_version")
        if version not in (FORMAT_VERSION, HOLD_OUT_VERSION):
            raise InputError(
                f"{folder} has data of format version {version}, but this program reads versions {FORMAT_VERSION} and "
                f"{HOLD_OUT_VERSION}. {_REMEDY}"
            )
        try:
            data = cls(
                folder=folder,
                vocabulary=ItemVocabulary.load(folder / VOCABULARY_FILE),
                shards=tuple(folder / name for name in about["shards"]),
                max_length=int(about["settings"]["max_length"]),
                data_hash=str(about["data_hash"]),
                counts={name: n if isinstance(n, float) else int(n) for name, n in about["counts"].items()},
                settings=about["settings"],
            )
            complete = data.vocabulary.n_items == data.counts["items"] and data.counts["users"] > 0
        except InputError as error:
            raise InputError(f"{error} {_REMEDY}") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{folder / DATASET_FILE} is damaged. {_REMEDY}") from None
        if not complete or not data.shards:
            raise InputError(f"{folder / DATASET_FILE} and {VOCABULARY_FILE} do not match. {_REMEDY}")
        for shard in data.shards:
            if not shard.is_file():
                raise InputError(f"{shard} is missing. {_REMEDY}")
        return data

    @property
    def window(self) -> Window:
        """What `prepare` kept of histories of more than `max_length` events, and what training uses of them."""
        window: Window = self.settings.get("window", "last")
        return window

    @property
    def hold_out(self) -> str:
        """What evaluation holds out, see `prepare`: "last", "time" or "session"."""
        return str(self.settings.get("hold_out", "last"))

    def histories(self, part: int = 0, parts: int = 1) -> tuple[list[str], list[np.ndarray]]:
        """Read histories into memory: all of them, or one of several parts that together have each user once.

        Args:
            part: number of the part, from 0. Default: 0.
            parts: number of parts. A part is some of the shards; with more parts than shards, several parts read the
                same shard. Default: 1, everything.

        Returns:
            User ids, and per user `[n]` int32 item ids, oldest first; shard by shard, in file order.

        Raises:
            InputError: a shard is missing or damaged; the message names the file.
        """
        split = self.split(part, parts)
        return split.users, split.histories

    def split(self, part: int = 0, parts: int = 1) -> SplitHistories:
        """Read histories into memory, with what evaluation holds out of them.

        Args:
            part: see `histories`. Default: 0.
            parts: see `histories`. Default: 1.

        Raises:
            InputError: see `histories`.
        """
        user_ids: list[str] = []
        histories: list[np.ndarray] = []
        before: list[np.ndarray] = []
        is_marked = self.hold_out != "last"
        n_shards = len(self.shards)
        mine = range(part, n_shards, parts) if parts <= n_shards else [part % n_shards]
        for index in mine:
            shard = self.shards[index]
            users, items, of_shard = _read_shard(shard, is_marked)
            # Users are distributed round-robin. A file cut between two records is read without an error.
            expected = len(range(index, self.counts["users"], n_shards))
            if len(users) != expected:
                raise InputError(f"{shard} has {len(users)} users instead of {expected}. {_REMEDY}")
            flat = np.concatenate(items)
            if flat.size and not (flat.min() >= 1 and flat.max() <= self.vocabulary.n_items):
                raise InputError(f"{shard} has item ids that are not in {VOCABULARY_FILE}. {_REMEDY}")
            user_ids.extend(users)
            histories.extend(items)
            before.append(of_shard)
        split = (
            SplitHistories(user_ids, histories, np.concatenate(before))
            if is_marked
            else SplitHistories.leave_one_out(user_ids, histories)
        )
        if parts > n_shards:
            readers = len(range(part % n_shards, parts, n_shards))  # number of parts that read this shard
            return split.of(np.arange(part // n_shards, len(user_ids), readers))
        return split

    @property
    def exclude_history(self) -> bool:
        """Whether the items of a history are not to be recommended: as `prepare` was told, or few targets repeat one.

        Where more than 5 % of the users' test items are in the history before them, they are recommended again.
        """
        return excludes_history(self.repeated_targets, self.settings.get("exclude_history"))

    @cached_property
    def repeated_targets(self) -> float:
        """Share of test targets that are in the history before them already, from 0 to 1.

        Folders of earlier versions lack the number: it is then counted over all histories.
        """
        if "repeated_targets" in self.counts:
            return float(self.counts["repeated_targets"])
        return repeated_targets(map(repeats, self.split().histories))["repeated_targets"]

    def __repr__(self) -> str:
        held = ", ".join(f"{self.counts[name]:,} {name}" for name in ("users", "items", "events"))
        kept = f"{'the last' if self.window == 'last' else 'all in windows of'} {self.max_length} of a user"
        return f"PreparedData({str(self.folder)!r}: {held}, {kept})"


def excludes_history(repeated_targets: float, told: bool | None = None) -> bool:
    """Return whether the items of a history are not to be recommended.

    Args:
        repeated_targets: share of the test users whose test item is in the history before it.
        told: the setting of `prepare`. Default: None, excluded unless the share is above 5 %.

    Example:
        >>> excludes_history(0.02), excludes_history(0.3), excludes_history(0.3, told=True)
        (True, False, True)
    """
    return repeated_targets <= MAX_REPEATED if told is None else told


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / DATASET_FILE
    if not file.is_file():
        problem = f"it has no {DATASET_FILE}" if folder.is_dir() else "there is no such folder"
        raise InputError(f"{folder} is not prepared data: {problem}. Make it with `laclrec-tf prepare`.")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict):
        raise InputError(f"{file} is damaged. {_REMEDY}")
    return about


def read_shard(file: Path) -> tuple[list[str], list[np.ndarray]]:
    """Read one shard.

    Args:
        file: a file that `write_histories` wrote.

    Returns:
        User ids, and per user `[n]` int32 item ids, oldest first, in file order.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _read_shard(file)[:2]


def _read_shard(file: Path, is_marked: bool = False) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """Return user ids, histories, and for marked records `[U, 2]` numbers of events before the held-out items."""
    user_ids: list[bytes] = []
    items, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    before = [np.zeros((0, 2), np.int64)]
    features = HISTORY_FEATURES | (BEFORE_FEATURE if is_marked else {})
    batches = tf.data.TFRecordDataset(str(file)).batch(_BATCH)
    try:
        for found in batches.map(lambda records: tf.io.parse_example(records, features)):
            user_ids.extend(found["user_id"].numpy().tolist())
            items.append(found["item_ids"].values.numpy())
            lengths.append(found["item_ids"].row_lengths().numpy())
            if is_marked:
                before.append(found["before"].numpy())
    except tf.errors.NotFoundError:
        raise InputError(f"{file} is missing. {_REMEDY}") from None
    except tf.errors.OpError:
        raise InputError(f"{file} is damaged or truncated. {_REMEDY}") from None
    ends = np.cumsum(np.concatenate(lengths))
    histories = np.split(np.concatenate(items).astype(np.int32), ends[:-1]) if ends.size else []
    return [user_id.decode("utf-8") for user_id in user_ids], histories, np.concatenate(before)


def write_histories(
    folder: Path, histories: pl.DataFrame, on_written: Callable[[int], None] | None = None
) -> list[str]:
    """Write histories round-robin into the shards of `shard_names`: user 0 to shard 0, user 1 to shard 1, and so on.

    Args:
        folder: an existing folder.
        histories: columns `user_id` (String) and `item_ids` (list of integers), one row for each user; and where other
            items than the last two are held out, `before_validation` and `before_test` (integers).
        on_written: function called with the number of users after every few thousand of them. Default: None.

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
    for shard, name in enumerate(names):
        part = histories.gather_every(len(names), offset=shard)
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for chunk in part.iter_slices(_BATCH):
                for user_id, item_ids, *before in chunk.iter_rows():
                    writer.write(serialise_history(user_id, item_ids, before))
                if on_written is not None:
                    on_written(chunk.height)
    return names


def shard_names(n_users: int) -> list[str]:
    """Return the names of the shards: four, beyond a million users one for every 250,000, and 64 at most.

    Args:
        n_users: number of users; with fewer than four users each user has a shard.

    Example:
        >>> shard_names(2)
        ['histories-00000-of-00002.tfrecord', 'histories-00001-of-00002.tfrecord']
    """
    wanted = min(max(math.ceil(n_users / USERS_IN_A_SHARD), MIN_SHARDS), MAX_SHARDS)
    n_shards = max(1, min(wanted, n_users))
    return [f"histories-{shard:05d}-of-{n_shards:05d}.tfrecord" for shard in range(n_shards)]


def serialise_history(user_id: str, item_ids: list[int], before: Sequence[int] = ()) -> bytes:
    """Return the record of a user; equal arguments give equal bytes.

    Args:
        user_id: the user.
        item_ids: the user's items, oldest first.
        before: how many of them are before the validation item, and before the test item. Default: none, the last two
            items are held out.
    """
    features = {
        "user_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[user_id.encode("utf-8")])),
        "item_ids": tf.train.Feature(int64_list=tf.train.Int64List(value=item_ids)),
    }
    if before:
        features["before"] = tf.train.Feature(int64_list=tf.train.Int64List(value=before))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # A fixed order of the two features gives the same bytes on every run.
    return bytes(example.SerializeToString(deterministic=True))
