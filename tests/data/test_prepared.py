"""Tests of opening prepared data, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.prepared import HISTORY_FEATURES, PreparedData, read_shard, shard_names, write_histories
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

SCHEMA = {"user_id": pl.String, "item_ids": pl.List(pl.UInt32)}
HISTORIES = {"ann": [1, 2], "bob": [2], "cem": [3, 2, 1], "dea": [1], "eve": [2, 3, 2]}


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
    with pytest.raises(InputError, match=f"{name} is damaged or truncated. Prepare the data again"):
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ItemVocabulary(["tent", "stove", "007"]).save(tmp_path / "vocabulary.txt")
    table = pl.DataFrame({"user_id": list(HISTORIES), "item_ids": list(HISTORIES.values())})
    about = {
        "format_version": 1,
        "counts": {"users": 5, "items": 3, "events": 10},
        "settings": {"max_length": 50},
        "data_hash": "abc",
        "shards": write_histories(tmp_path, table),
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return tmp_path


def change(folder: Path, **changes: Any) -> None:
    file = folder / "dataset.json"
    about = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(about), encoding="utf-8")


def complaint(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        PreparedData.open(folder).histories()
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert "laclrec-tf prepare" in message
    return message


def test_open_reads_the_description(folder):
    data = PreparedData.open(str(folder))
    assert data.folder == folder
    assert data.vocabulary == ItemVocabulary(["tent", "stove", "007"])
    assert data.shards == tuple(folder / f"histories-{shard:05d}-of-00004.tfrecord" for shard in range(4))
    assert (data.max_length, data.data_hash) == (50, "abc")
    assert data.counts == {"users": 5, "items": 3, "events": 10}
    assert data.settings == {"max_length": 50}
    assert data == PreparedData.open(folder)
    assert hash(data) == hash(PreparedData.open(folder))


def test_repeated_targets_are_read_or_counted(folder):
    assert PreparedData.open(folder).repeated_targets == 0.5  # of cem's and eve's newest items, eve's
    change(folder, counts={"users": 5, "items": 3, "events": 10, "repeated_targets": 0.25})
    data = PreparedData.open(folder)
    assert data.repeated_targets == data.counts["repeated_targets"] == 0.25


def test_histories_come_in_file_order(folder):
    users, histories = PreparedData.open(folder).histories()
    assert users == ["ann", "eve", "bob", "cem", "dea"]
    assert [history.tolist() for history in histories] == [HISTORIES[user] for user in users]
    assert {history.dtype.name for history in histories} == {"int32"}


def test_folders_that_are_no_prepared_data(tmp_path):
    assert "there is no such folder" in complaint(tmp_path / "gone")
    assert "it has no dataset.json" in complaint(tmp_path)


@pytest.mark.parametrize("version", [0, 3, None, "1"])
def test_another_format_version(folder, version):
    change(folder, format_version=version)
    message = complaint(folder)
    assert str(folder) in message
    assert f"format version {version}, but this program reads versions 1 and 2" in message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_description(folder, content):
    (folder / "dataset.json").write_bytes(content)
    assert "dataset.json is damaged" in complaint(folder)


@pytest.mark.parametrize(
    "changes",
    [{"settings": {}}, {"settings": None}, {"shards": None}, {"shards": [1]}, {"counts": {"items": 3}}],
)
def test_a_description_without_what_is_needed(folder, changes):
    change(folder, **changes)
    assert "dataset.json is damaged" in complaint(folder)


@pytest.mark.parametrize("changes", [{"counts": {"users": 5, "items": 4}}, {"shards": []}])
def test_a_description_that_does_not_fit(folder, changes):
    change(folder, **changes)
    assert "do not match" in complaint(folder)


def test_a_missing_vocabulary(folder):
    (folder / "vocabulary.txt").unlink()
    assert "vocabulary.txt" in complaint(folder)


def test_a_missing_shard_is_named_on_opening(folder):
    name = "histories-00002-of-00004.tfrecord"
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        PreparedData.open(folder)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 64])
def test_a_damaged_shard_is_named(folder, content):
    name = "histories-00001-of-00004.tfrecord"
    (folder / name).write_bytes(content)
    assert name in complaint(folder)


def test_a_shard_cut_between_two_records_is_noticed(folder):
    first, second = (folder / f"histories-0000{shard}-of-00004.tfrecord" for shard in (0, 1))
    first.write_bytes(second.read_bytes())
    assert f"{first.name} has 1 users instead of 2" in complaint(folder)


def test_items_without_a_name_are_noticed(folder):
    ItemVocabulary(["tent", "stove"]).save(folder / "vocabulary.txt")
    change(folder, counts={"users": 5, "items": 2, "events": 10})
    assert "has item ids that are not in vocabulary.txt" in complaint(folder)
