"""What noise and cleaning change, worked out by hand."""

from pipelines.evaluation_changes import changes_between_evaluations
from pipelines.study_config import StudyConfig

METRICS = ("recall@10", "ndcg@10", "mrr@10")


def test_the_report_says_what_noise_and_cleaning_change():
    noisy = {"histories": {"small": "noisy.csv"}}
    evaluations = {"full": {}, "noisy": noisy, "noisy and cleaned": noisy | {"clean": True}, "c": {"clean": True}}
    config = StudyConfig(data={"small": "small"}, models={"a": {}}, evaluations=evaluations)
    reached = {"full": [0.1, 0.2], "noisy": [0.09, 0.19], "noisy and cleaned": [0.18, 0.19]}  # of two seeds
    records = [
        {"evaluations": {e: {"recall@10": v[seed], "ndcg@10": v[seed], "mrr@10": 0.0} for e, v in reached.items()}}
        for seed in range(2)
    ]
    tables = {
        e: {"data": "small", "trained_on": "strict", "evaluation": e, "models": {"a": [(r, None) for r in records]}}
        for e in reached
    }
    lines = changes_between_evaluations(config, tables, METRICS)
    assert lines[0] == "## small, strict, what other histories and cleaning change"
    assert [line for line in lines if "→" in line][1:] == [
        "| full → noisy | a | -7.5% ± 3.5% | -7.5% ± 3.5% | – |",
        "| noisy → noisy and cleaned | a | +50.0% ± 70.7% | +50.0% ± 70.7% | – |",
    ]
    assert changes_between_evaluations(config, {"full": tables["full"]}, METRICS) == []
