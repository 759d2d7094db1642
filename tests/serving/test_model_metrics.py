"""What is known of a version's quality, on disk and back."""

from __future__ import annotations

import json

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.metadata import METRICS_FILE, Evaluation, ModelMetrics, finite

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
    ("content", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format_version": 1}', "is damaged"),
        ('{"format_version": 1, "evaluations": [{"split": "test"}]}', "is damaged"),
        ('{"format_version": 2, "evaluations": []}', "another format version than 1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, told):
    FULL.write(tmp_path)
    (tmp_path / METRICS_FILE).write_text(content)
    with pytest.raises(InputError, match=f"metrics.json is .*{told.removeprefix('is ')}"):
        ModelMetrics.read(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="has no assets.extra/metrics.json"):
        ModelMetrics.read(tmp_path)


def test_an_export_of_nothing_known_says_so(exported):
    assert ModelMetrics.read(exported) == ModelMetrics()
    assert json.loads((exported / METRICS_FILE).read_text())["evaluations"] == []
