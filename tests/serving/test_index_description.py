"""How a version finds items, in words."""

from __future__ import annotations

import json

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.metadata import METADATA_FILE, index_description, index_recall


def test_partitions_are_described_with_what_was_measured():
    index = {
        "kind": "partitioned",
        "partitions": 9,
        "probes": 4,
        "int8": False,
        "recall@20": 1.0,
        "measured_on": "2 drawn histories",
    }
    assert index_description(index) == (
        "partitioned index: 4 of 9 partitions, recall@20 1.0000 against exact on 2 drawn histories"
    )
    assert ", scores from int8," in index_description(index | {"int8": True})


@pytest.mark.parametrize(
    ("content", "recall"),
    [
        ({"metadata": {"index": {"kind": "partitioned", "recall@20": 0.75}}}, 0.75),
        ({"metadata": {"index": {"kind": "exact"}}}, 1.0),
        ({"metadata": "whatever"}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_recall_that_an_export_measured(tmp_path, content, recall):
    (tmp_path / METADATA_FILE).parent.mkdir()
    (tmp_path / METADATA_FILE).write_text(json.dumps(content), encoding="utf-8")
    assert index_recall(tmp_path) == recall


@pytest.mark.parametrize("content", ["{", "[]", '{"metadata": {"index": {"kind": "partitioned"}}}'])
def test_a_damaged_description(tmp_path, content):
    (tmp_path / METADATA_FILE).parent.mkdir()
    (tmp_path / METADATA_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="metadata.json is damaged. Export the model again"):
        index_recall(tmp_path)
