"""Two replicas on two virtual processors train as one does on the same batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def trained() -> list[list[dict[str, Any]]]:
    """Return what came of one replica and of two: of `cl4srec`, and of `sasrec` with eight sampled negatives."""
    script = Path(__file__).with_name("mirrored_training.py")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), "cl4srec:0", "sasrec:8"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT")[1])


# With an augmenter: test_worker_training.py. On virtual processors that has broken TensorFlow's heap, once in ten runs.
def test_two_replicas_give_the_losses_and_weights_of_one(trained):
    one, two = trained[0]
    assert set(two["log"]) == set(one["log"])
    assert {"next_item_loss", "contrast_loss"} <= set(one["log"])
    for name, values in one["log"].items():
        if name.endswith("loss"):
            assert two["log"][name] == pytest.approx(values, rel=1e-4), name
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-3, abs=1e-3)


def test_two_replicas_train_with_sampled_negatives(trained):
    """Each replica draws its own negatives, so the losses are near those of one, not the same."""
    one, two = trained[1]
    assert two["log"]["loss"] == pytest.approx(one["log"]["loss"], rel=0.1)
