"""What noise and cleaning change, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.tables import StudyTable, Training, changes_between_evaluations, mean_and_spread, study_tables

METRICS = ("recall@10", "ndcg@10", "mrr@10")


def test_a_precision_is_of_the_seeds_that_have_one():
    none = float("nan")  # nothing was deleted
    assert mean_and_spread([0.1, 0.3]) == "0.2000 ± 0.1414"
    assert mean_and_spread([none, 0.1, 0.3]) == "0.2000 ± 0.1414 (2 of 3)"
    assert (mean_and_spread([none, 0.1]), mean_and_spread([none, none])) == ("0.1000 (1 of 2)", "–")


def record(model, seed, trained_on="strict", **recall):
    evaluations = {name: {"recall@10": value} for name, value in recall.items()}
    return {"data": "d", "model": model, "seed": seed, "trained_on": trained_on, "evaluations": evaluations}


@pytest.fixture
def tables():
    config = StudyConfig(data={"d": "d"}, models={"a": {}, "b": {}}, evaluations={"full": {}, "cleaned": {}, "no": {}})
    records = [
        record("a", 0, full=0.5, cleaned=0.6),
        record("b", 0, full=0.1),
        record("a", 0, "refit", full=0.9),
        record("a", 1, full=0.7),
    ]
    places = {"full": np.array([0, 20], np.uint8)}
    other = {"full": np.array([1, 9], np.uint8)}
    return list(study_tables(config, records, [places | {"cleaned": places["full"]}, other, places, other]))


def test_a_table_is_of_one_evaluation_and_way_of_training(tables):
    assert [table.heading for table in tables] == ["d, strict, full", "d, strict, cleaned", "d, refit, full"]
    assert [list(table.models) for table in tables] == [["a", "b"], ["a"], ["a"]]
    assert [len(table.trainings) for table in tables] == [3, 1, 1]


def test_values_are_one_a_seed(tables):
    assert tables[0].values("a", "recall@10") == [0.5, 0.7]
    assert tables[2].values("a", "recall@10") == [0.9]


def test_models_are_compared_on_the_seeds_they_share(tables):
    assert tables[0].shared_seeds("a", "b") == {0}


def test_a_users_value_is_the_mean_over_seeds(tables):
    # Places 0 and 20 of seed 0, 1 and 9 of seed 1: mrr@10 is 1, 0 and 1/2, 1/10.
    assert tables[0].per_user("a", {0, 1}, "mrr@10") == pytest.approx([0.75, 0.05])
    assert tables[0].per_user("a", {0}, "recall@10").tolist() == [1.0, 0.0]


def test_the_report_says_what_noise_and_cleaning_change():
    noisy = {"histories": {"small": "noisy.csv"}}
    evaluations = {"full": {}, "noisy": noisy, "noisy and cleaned": noisy | {"clean": True}, "c": {"clean": True}}
    config = StudyConfig(data={"small": "small"}, models={"a": {}}, evaluations=evaluations)
    reached = {"full": [0.1, 0.2], "noisy": [0.09, 0.19], "noisy and cleaned": [0.18, 0.19]}  # of two seeds
    tables = {
        name: StudyTable(
            "small",
            "strict",
            name,
            {
                "a": [
                    Training({}, {"recall@10": value, "ndcg@10": value, "mrr@10": 0.0}, np.zeros(1, np.uint8))
                    for value in values
                ]
            },
        )
        for name, values in reached.items()
    }
    lines = changes_between_evaluations(config, tables, METRICS)
    assert lines[0] == "## small, strict, effect of edits, cleaning, noise and other histories"
    assert [line for line in lines if "→" in line][1:] == [
        "| full → noisy | a | -7.5% ± 3.5% | -7.5% ± 3.5% | – |",
        "| noisy → noisy and cleaned | a | +50.0% ± 70.7% | +50.0% ± 70.7% | – |",
    ]
    assert changes_between_evaluations(config, {"full": tables["full"]}, METRICS) == []


def test_edits_are_compared_with_none_for_the_same_noise():
    evaluations = {"full": {}, "noisy": {"noise": 0.2}, "mixed": {"noise": 0.2, "edits": "learned"}}
    config = StudyConfig(data={"small": "small"}, models={"a": {}}, evaluations=evaluations)
    tables = {
        name: StudyTable(
            "small", "strict", name, {"a": [Training({}, dict.fromkeys(METRICS, value), np.zeros(1, np.uint8))]}
        )
        for name, value in {"full": 0.4, "noisy": 0.2, "mixed": 0.3}.items()
    }
    lines = changes_between_evaluations(config, tables, METRICS[:1])
    assert [line for line in lines if "→" in line][1:] == [
        "| full → noisy | a | -50.0% |",
        "| noisy → mixed | a | +50.0% |",
    ]
