"""What a version says about itself, written and read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.metadata import (
    METADATA_FILE,
    METRICS_FILE,
    Evaluation,
    ModelMetrics,
    ServedItems,
    finite,
    index_description,
    index_recall,
)

WHOLE = json.dumps({"max_length": 4, "signatures": ["augment", "retrieve"]})
FULL = ModelMetrics(
    data_hash="d" * 64,
    data_counts={"users": 3},
    trained_on="strict",
    seed=0,
    preset="sasrec",
    evaluations=(
        Evaluation("validation", "full", {"ndcg@10": 0.1, "mrr@10": None}),
        Evaluation("test", "sampled-99", {"ndcg@10": 0.2}, users=3, tie_rule="a rule", negatives_seed=1),
    ),
)


def test_partitions_are_described_with_their_recall():
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


@pytest.fixture
def version(tmp_path):
    """Return the folder of version 12, with all that it says about its items."""
    folder = tmp_path / "shop" / "12"
    for name, content in (("assets.extra/metadata.json", WHOLE), ("assets/vocabulary.txt", "tent\nmug\n")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
    (folder / "saved_model.pb").touch()
    return folder


def test_items_of_a_version_and_of_the_newest_version(version):
    items = ServedItems.read(version)
    assert items.vocabulary.items == ("tent", "mug")
    assert (items.max_length, items.version, items.signatures, items.edits) == (4, 12, {"augment", "retrieve"}, "none")
    assert ServedItems.read(version.parent) == items
    assert ServedItems.read(version.rename(version.parent / "candidate")).version == 1


def test_signatures_may_be_missing(version):
    (version / "assets.extra/metadata.json").write_text('{"max_length": 4}')
    assert ServedItems.read(version).signatures == frozenset()


@pytest.mark.parametrize("metadata", [None, "{", "[]", "{}", '{"max_length": "long"}', '{"max_length": null}'])
def test_damaged_metadata(version, metadata):
    file = version / "assets.extra/metadata.json"
    file.unlink() if metadata is None else file.write_text(metadata)
    with pytest.raises(InputError) as raised:
        ServedItems.read(version)
    assert str(raised.value) == (
        f"{version} does not say which items it knows. Give a model that `laclrec-tf export` wrote."
    )


@pytest.mark.parametrize("vocabulary", [None, "", "tent\ntent\n"])
def test_a_damaged_vocabulary(version, vocabulary):
    file = version / "assets/vocabulary.txt"
    file.unlink() if vocabulary is None else file.write_text(vocabulary)
    with pytest.raises(InputError, match="does not say which items it knows"):
        ServedItems.read(version)


def test_a_cut_vocabulary(version):
    (version / METADATA_FILE).write_text(json.dumps(json.loads(WHOLE) | {"n_items": 3}))
    with pytest.raises(
        InputError, match=r"vocabulary.txt is damaged: it has 2 items in place of 3. Copy or export the"
    ):
        ServedItems.read(version)


def test_it_is_read_without_tensorflow():
    code = "import sys, laclrec_tf.serving.version.metadata; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("metrics", [FULL, ModelMetrics()])
def test_written_and_read_they_are_the_same(tmp_path, metrics):
    metrics.write(tmp_path)
    assert ModelMetrics.read(tmp_path) == metrics


def test_evaluations_that_can_be_compared_share_their_name():
    assert [evaluation.name for evaluation in FULL.evaluations] == [
        "validation, full",
        "test, sampled-99, sampled with seed 1",
    ]


def test_numbers_that_json_cannot_hold_are_none():
    assert finite({"a": float("nan"), "b": float("inf"), "c": 0.0, "d": 1}) == {
        "a": None,
        "b": None,
        "c": 0.0,
        "d": 1.0,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format_version": 1}', "is damaged"),
        ('{"format_version": 1, "evaluations": [{"split": "test"}]}', "is damaged"),
        ('{"format_version": 2, "evaluations": []}', "another format version than 1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    FULL.write(tmp_path)
    (tmp_path / METRICS_FILE).write_text(content)
    with pytest.raises(InputError, match=f"metrics.json is .*{message.removeprefix('is ')}"):
        ModelMetrics.read(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="has no assets.extra/metrics.json"):
        ModelMetrics.read(tmp_path)


def test_an_export_of_nothing_known_says_so(exported):
    assert ModelMetrics.read(exported) == ModelMetrics()
    assert json.loads((exported / METRICS_FILE).read_text())["evaluations"] == []
