"""What the models of a study reached, worked out by hand."""

import numpy as np
import pytest

from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.tables import study_tables


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
