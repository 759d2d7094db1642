"""Tests of opening prepared data, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from laclrec_tf.data.prepared import PreparedData, write_histories
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

HISTORIES = {"ann": [1, 2], "bob": [2], "cem": [3, 2, 1], "dea": [1], "eve": [2, 3]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ItemVocabulary(["tent", "stove", "007"]).save(tmp_path / "vocabulary.txt")
    table = pl.DataFrame({"user_id": list(HISTORIES), "item_ids": list(HISTORIES.values())})
    about = {
        "format_version": 1,
        "counts": {"users": 5, "items": 3, "events": 9},
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
    assert data.counts == {"users": 5, "items": 3, "events": 9}
    assert data.settings == {"max_length": 50}
    assert data == PreparedData.open(folder)
    assert hash(data) == hash(PreparedData.open(folder))


def test_histories_come_in_file_order(folder):
    users, histories = PreparedData.open(folder).histories()
    assert users == ["ann", "eve", "bob", "cem", "dea"]
    assert [history.tolist() for history in histories] == [HISTORIES[user] for user in users]
    assert {history.dtype.name for history in histories} == {"int32"}


def test_folders_that_are_no_prepared_data(tmp_path):
    assert "there is no such folder" in complaint(tmp_path / "gone")
    assert "it has no dataset.json" in complaint(tmp_path)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_version(folder, version):
    change(folder, format_version=version)
    message = complaint(folder)
    assert str(folder) in message
    assert f"format version {version}, this program reads version 1" in message


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
    assert "do not fit together" in complaint(folder)


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
    assert f"{first.name} holds 1 users instead of 2" in complaint(folder)


def test_items_without_a_name_are_noticed(folder):
    ItemVocabulary(["tent", "stove"]).save(folder / "vocabulary.txt")
    change(folder, counts={"users": 5, "items": 2, "events": 9})
    assert "holds items that vocabulary.txt does not name" in complaint(folder)
