"""The file is cloudml-hypertune's, line by line."""

import json

from laclrec_tf.vertex.worker import TuningMetrics, is_tuning_trial


def test_a_line_an_epoch(tmp_path):
    file = tmp_path / "deep" / "output.metrics"
    report = TuningMetrics(environment={"CLOUD_ML_HP_METRIC_FILE": str(file), "CLOUD_ML_TRIAL_ID": "7"})
    report.on_epoch_end(0, {"loss": 2.0, "val_ndcg@10": 0.25})
    report.on_epoch_end(1, {"loss": 1.0, "val_ndcg@10": 0.5})
    report.on_epoch_end(2, {"loss": 1.0})  # a refit has no validation
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    times = [line.pop("timestamp") for line in lines]
    assert times == sorted(times)
    assert lines == [
        {"trial": "7", "ndcg_at_10": "0.25", "global_step": "1", "checkpoint_path": ""},
        {"trial": "7", "ndcg_at_10": "0.5", "global_step": "2", "checkpoint_path": ""},
    ]
    assert [path.name for path in file.parent.iterdir()] == ["output.metrics"]


def test_only_a_trial_is_one():
    assert is_tuning_trial({"CLOUD_ML_TRIAL_ID": "1"})
    assert not is_tuning_trial({})
