"""Histories as TFRecords of `tf.train.Example`: the format, writing shards, reading one back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

from laclrec_tf.errors import InputError

# For `tf.io.parse_example`: one user a record, items oldest first.
HISTORY_FEATURES = {
    "user_id": tf.io.FixedLenFeature([], tf.string),
    "item_ids": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}
# Each of several workers reads shards of its own, so there are more of them where more workers pay.
MIN_SHARDS, MAX_SHARDS, USERS_IN_A_SHARD = 4, 64, 250_000
_BATCH = 4096


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
