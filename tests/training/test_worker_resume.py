"""Two workers that are killed in the middle of an epoch and resume end with the losses of an uninterrupted training."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from laclrec_tf.training.checkpoints import AGREED_STEPS, TrainingCheckpoints

ROOT = Path(__file__).parents[2]
SETTINGS = ["--preset=sasrec", "--epochs=2", "--set=width=8", "--set=targets_per_batch=40", "--set=patience=2"]
SETTINGS += ["--set=n_recommender_blocks=0"]


def start_two(data: Path, out: Path, *more: str) -> list[subprocess.Popen]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    command = [sys.executable, "-m", "laclrec_tf.cli.main", "train", str(data), "--out", str(out), *SETTINGS, *more]
    workers = []
    for index in range(2):
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_CONFIG": json.dumps(place),
        }
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    return workers


def ends(workers: list[subprocess.Popen]) -> list[int]:
    errors = [worker.communicate(timeout=240)[1] for worker in workers]
    codes = [worker.returncode for worker in workers]
    assert set(codes) <= {0, 130}, errors
    return codes


def logged(run: Path) -> list[dict[str, float]]:
    with (run / "epochs-strict.csv").open(newline="") as rows:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(rows)]


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory) -> tuple[Path, Path]:
    """Return an uninterrupted run of two workers, and their checkpoint in the middle of the second epoch."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    kept, linked = folder / "checkpoints", folder / "linked"
    linked.mkdir()
    keeping = ["--checkpoints", str(kept), "--checkpoint-minutes", "0", "--keep-checkpoints", "1000"]
    workers = start_two(data, folder / "run", *keeping)
    while workers[0].poll() is None:  # a finished training deletes them, but not the links
        for file in kept.glob("*.npz"):
            if not (linked / file.name).exists():
                os.link(file, linked / file.name)
        time.sleep(0.05)
    assert ends(workers) == [0, 0]
    for file in sorted(linked.iterdir(), reverse=True):
        about = TrainingCheckpoints(linked).newest().about
        if (about["epoch"], about["step"]) == (1, AGREED_STEPS):
            return folder / "run", file
        file.unlink()
    raise AssertionError("no checkpoint in the middle of the second epoch")


def test_two_workers_resume_in_the_middle_of_an_epoch(data, uninterrupted, tmp_path):
    run, checkpoint = uninterrupted
    kept = tmp_path / "run/checkpoints"
    kept.mkdir(parents=True)
    os.link(checkpoint, kept / checkpoint.name)
    assert ends(start_two(data, tmp_path / "run", "--resume")) == [0, 0]
    # The losses depend on every batch and weight of the epoch. The order of sums over the network varies.
    (resumed,) = logged(tmp_path / "run")  # the first epoch was not trained again
    assert resumed == pytest.approx(logged(run)[-1], rel=1e-5, abs=1e-6)
    (last,) = kept.iterdir()  # it did all of its epochs
    assert last.name != checkpoint.name
