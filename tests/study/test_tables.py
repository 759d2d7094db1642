"""What noise and cleaning change, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.report import _section
from laclrec_tf.study.tables import (
    StudyTable,
    Training,
    augmenter_section,
    changes_between_evaluations,
    mean_and_spread,
    study_tables,
)

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


def measured(**groups):
    """Return a record of an augmenter whose values are all 0.5, but those given."""
    deletions = {"precision": 0.5, "recall": 0.5, "precision_at_random": 0.1, "recall_at_random": 0.5, "good_lost": 0.5}
    insertions = {f"hit@{k}{name}": 0.5 for k in (1, 10) for name in ("", "_at_random", "_of_most_popular")}
    views = dict.fromkeys(("cosine_raw_learned", "cosine_raw_random", "learned_is_nearer", "learned_is_raw"), 0.5)
    parts = {"deletions": deletions, "planted_noise": deletions, "insertions": insertions, "views": views}
    return record("a", 0) | {"augmenter": {"histories": 9} | parts | groups}


def rows(lines):
    """Return the tables' rows as cells by title; of two columns with one title the last."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [dict(zip(titles, row, strict=True)) for titles, _, row in zip(*[iter(found)] * 3, strict=True)]


def test_how_well_noise_is_found_stands_beside_popularity():
    config = StudyConfig(data={"d": "d"}, models={"a": {}}, augmenter=True, truth={"d": "t.csv"})
    found = {"augmenter": {"auc": 0.9, "auc_last": 0.8}, "popularity": {"auc": 0.7, "auc_last": 0.6}}
    planted = measured()["augmenter"]["planted_noise"] | {"detection": {"augmenter": {"auc": 0.75}, "popularity": {}}}
    lines = augmenter_section(config, [measured(popular_noise={"detection": found}, planted_noise=planted)])
    (augmenter, noise), table = rows(lines), next(line for line in lines if line.startswith("| a"))
    assert augmenter["AUC, popular noise"] == "0.9000" and augmenter["AUC, last event"] == "0.8000"
    assert "| 0.9000 | 0.7000 | 0.8000 | 0.6000 |" in table
    assert "0.5 at random" in "".join(lines) and "0.1000" not in "".join(lines)
    assert (noise["AUC"], noise["AUC, last event"]) == ("0.7500", "–")


def test_a_record_made_before_noise_was_found_has_no_such_column():
    config = StudyConfig(data={"d": "d"}, models={"a": {}}, augmenter=True, truth={"d": "t.csv"})
    lines = augmenter_section(config, [measured()])
    augmenter, noise = rows(lines)
    assert list(augmenter)[:5] == ["model", "seeds", "deletion precision", "recall", "at random"]
    assert list(noise) == ["model", "seeds", "planted noise deleted", "other events deleted", "precision"]
    assert "AUC" not in "".join(lines) and "0.1000" not in "".join(lines)


def test_other_metrics_follow_from_the_ranks(tables):
    # The reports do not have them. Places 0 and 20 of seed 0, 1 and 9 of seed 1.
    assert tables[0].values("a", "recall@1") == [0.5, 0.0]
    assert tables[0].values("a", "mrr@2") == [0.5, 0.25]
    assert tables[0].per_user("a", {0, 1}, "recall@1").tolist() == [0.5, 0.0]


def test_models_are_compared_in_the_metrics_of_the_study():
    study = {"data": {"d": "d"}, "models": {"a": {}}}
    assert StudyConfig(**study).compared == METRICS
    assert StudyConfig(**study, metrics=["recall@1", "mrr@20"]).compared == ("recall@1", "mrr@20")


def test_models_of_different_protocols_are_not_compared():
    config = StudyConfig(data={"d": "d"}, models={"a": {}, "b": {}}, evaluations={"full": {}})
    reports = [("a", "full", 0.5), ("b", "full-with-history", 0.9)]
    models = {}
    for model, protocol, value in reports:
        report = {
            "protocol": protocol,
            "users": 2,
            "split": "test",
            "tie_rule": "",
            **dict.fromkeys(config.metrics, value),
        }
        its = {"best_epoch": 1, "refit_epochs": None, "seed": 0, "data_hash": "0" * 64}
        models[model] = [Training(its, report, np.zeros(2, np.uint8))]
    lines = "\n".join(_section(StudyTable("d", "strict", "full", models), config))
    assert "| a (full) |" in lines and "| b (full-with-history) |" in lines
    assert "**" not in lines and "| b | " not in lines.partition("compared with")[2]
