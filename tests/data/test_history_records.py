"""Tests of histories in TFRecord shards."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.prepared import HISTORY_FEATURES, read_shard, shard_names, write_histories
from laclrec_tf.errors import InputError

SCHEMA = {"user_id": pl.String, "item_ids": pl.List(pl.UInt32)}


def table(histories: dict[str, list[int]]) -> pl.DataFrame:
    return pl.DataFrame({"user_id": list(histories), "item_ids": list(histories.values())}, schema=SCHEMA)


@pytest.mark.parametrize(
    ("users", "shards"),
    [(0, 1), (3, 3), (4, 4), (1_000_000, 4), (1_000_001, 5), (2_000_000, 8), (16_000_000, 64), (100_000_000, 64)],
)
def test_more_users_have_more_shards(users, shards):
    names = shard_names(users)
    assert len(names) == shards
    assert names[-1] == f"histories-{shards - 1:05d}-of-{shards:05d}.tfrecord"


def test_users_are_dealt_round_robin_to_four_shards(tmp_path):
    histories = {f"u{user}": list(range(1, user + 2)) for user in range(6)}
    written: list[int] = []
    names = write_histories(tmp_path, table(histories), written.append)
    assert names == [f"histories-{shard:05d}-of-00004.tfrecord" for shard in range(4)]
    assert sum(written) == 6
    shards = [read_shard(tmp_path / name) for name in names]
    assert [users for users, _ in shards] == [["u0", "u4"], ["u1", "u5"], ["u2"], ["u3"]]
    assert [[items.tolist() for items in part] for _, part in shards] == [
        [[1], [1, 2, 3, 4, 5]],
        [[1, 2], [1, 2, 3, 4, 5, 6]],
        [[1, 2, 3]],
        [[1, 2, 3, 4]],
    ]
    assert all(items.dtype == "int32" for _, part in shards for items in part)


def test_records_are_examples_of_the_named_features(tmp_path):
    (name,) = write_histories(tmp_path, table({"ünï": [3, 1, 2]}))
    (record,) = tf.data.TFRecordDataset(str(tmp_path / name)).as_numpy_iterator()
    example = tf.train.Example.FromString(record)
    assert set(example.features.feature) == set(HISTORY_FEATURES)
    assert example.features.feature["user_id"].bytes_list.value[:] == ["ünï".encode()]
    assert example.features.feature["item_ids"].int64_list.value[:] == [3, 1, 2]


def test_the_same_histories_give_the_same_bytes(tmp_path):
    contents = []
    for run in "ab":
        (tmp_path / run).mkdir()
        (name,) = write_histories(tmp_path / run, table({"ann": [3, 1, 2]}))
        contents.append((tmp_path / run / name).read_bytes())
    assert contents[0] == contents[1]


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(1, 2**31 - 1))))
@settings(max_examples=25)
def test_histories_come_back(tmp_path_factory, histories):
    folder = tmp_path_factory.mktemp("records")
    found: dict[str, list[int]] = {}
    for name in write_histories(folder, table(histories)):
        users, items = read_shard(folder / name)
        found |= dict(zip(users, (each.tolist() for each in items), strict=True))
    assert found == histories


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-3]])
def test_damage_names_the_file(tmp_path: Path, damage):
    (name,) = write_histories(tmp_path, table({"ann": [3, 1, 2]}))
    file = tmp_path / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=f"{name} is damaged or cut off. Prepare the data again"):
        read_shard(file)


def test_other_records_are_damage(tmp_path):
    file = tmp_path / "other.tfrecord"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(InputError, match="other.tfrecord is damaged"):
        read_shard(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="gone.tfrecord is missing. Prepare the data again"):
        read_shard(tmp_path / "gone.tfrecord")
