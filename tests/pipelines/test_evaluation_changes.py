"""What noise and cleaning change, worked out by hand."""

import numpy as np

from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.tables import StudyTable, Training, changes_between_evaluations

METRICS = ("recall@10", "ndcg@10", "mrr@10")


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
    assert lines[0] == "## small, strict, what other histories and cleaning change"
    assert [line for line in lines if "→" in line][1:] == [
        "| full → noisy | a | -7.5% ± 3.5% | -7.5% ± 3.5% | – |",
        "| noisy → noisy and cleaned | a | +50.0% ± 70.7% | +50.0% ± 70.7% | – |",
    ]
    assert changes_between_evaluations(config, {"full": tables["full"]}, METRICS) == []
