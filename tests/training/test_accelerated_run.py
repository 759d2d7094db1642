"""A training with the settings for accelerators, from prepared data to the evaluated run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from laclrec_tf.data.prepare import prepare
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train

SMALL = {
    "preset": "sasrec",
    "width": 16,
    "n_recommender_blocks": 0,
    "epochs": 2,
    "targets_per_batch": 100,
    "learning_rate": 0.02,
    "seed": 3,
}


def trained(data: Path, out: Path, **settings: Any) -> tuple[RunFolder, list[float]]:
    """Return a run and its losses."""
    run = train(data, out, TrainConfig.of(SMALL | settings), show_progress=False)
    with (out / "epochs-strict.csv").open() as file:
        return run, [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture
def two_lengths(data, tmp_path):
    """Return prepared data of two buckets of 54 and 80 users: full batches of 100 targets, with 18 and 40 users each.

    XLA compiles the step for each shape, so here for two only.
    """
    header, *events = (data.parent / "events.csv").read_text().splitlines()
    user = header.split(",").index("user_id")
    of_user: dict[str, list[str]] = {}
    for event in events:
        of_user.setdefault(event.split(",")[user], []).append(event)
    by_length = sorted(of_user.values(), key=len, reverse=True)
    cut = [event for each in by_length[:54] for event in each[:8]] + [e for each in by_length[54:134] for e in each[:6]]
    (tmp_path / "events.csv").write_text("\n".join([header, *cut]) + "\n")
    prepare(tmp_path / "events.csv", tmp_path / "data", min_interactions=1, show_progress=False)
    return tmp_path / "data"


def test_accelerator_settings_work_from_training_to_evaluation(two_lengths, tmp_path):
    """bfloat16, XLA and several steps at once: trained, kept, loaded, evaluated."""
    fast = {"precision": "mixed_bfloat16", "jit_compile": True, "steps_per_execution": 2}
    run, losses = trained(two_lengths, tmp_path / "run", **fast)
    _, expected = trained(two_lengths, tmp_path / "plain")
    assert run.model.dtype_policy.name == "mixed_bfloat16"
    assert losses == pytest.approx(expected, rel=0.05)
    report = evaluate(run.folder, split="validation", show_progress=False)
    assert report["ndcg@10"] == pytest.approx(run.record["validation"]["ndcg@10"], abs=1e-6)
