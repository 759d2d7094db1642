"""A resumed training ends with the weights of an uninterrupted one, wherever it was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import laclrec_tf
from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.checkpoints import CheckpointSettings, TrainingCheckpoints
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train

pytestmark = pytest.mark.usefixtures("untraced_training")

SETTINGS = {
    "preset": "laclrec",
    "width": 8,
    "n_recommender_blocks": 0,
    "max_insertions": 1,
    "epochs": 2,
    "patience": 1,
    "targets_per_batch": 350,  # two steps an epoch
    "learning_rate": 0.02,
    "pretrain_epochs": 1,
    "refit": True,
    "seed": 3,
}


def run(data: Path, out: Path, **keeping) -> RunFolder:
    return train(data, out, TrainConfig.of(SETTINGS), checkpoints=CheckpointSettings(**keeping), show_progress=False)


@pytest.fixture(scope="module")
def uninterrupted(short_data, tmp_path_factory) -> RunFolder:
    """Return an uninterrupted run of pretraining, strict training and refit."""
    return run(short_data, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def killed(short_data, tmp_path_factory) -> tuple[Path, list[Path]]:
    """Return a run that was killed in each of its parts and resumed, and copies of its folder at those moments."""
    out = tmp_path_factory.mktemp("killed") / "run"
    # In the pretraining, in a later epoch of the strict training, and in the refit.
    moments = [("strict", "augmenter", 0, 1), ("strict", "full", 1, 1), ("refit", "full", 0, 1)]
    copies: list[Path] = []
    write = TrainingCheckpoints.write

    def write_and_die(checkpoints: TrainingCheckpoints, state) -> bool:
        if (where := tuple(state.about[name] for name in ("part", "objective", "epoch", "step"))) not in moments:
            return True  # a write takes longer than a step of this small model
        moments.remove(where)
        write(checkpoints, state)
        copies.append(shutil.copytree(out, out.with_name(f"killed-{len(copies)}")))
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingCheckpoints, "write", write_and_die)
        for _ in range(3):
            with pytest.raises(Killed):
                run(short_data, out, minutes=0, resume=True)
        run(short_data, out, minutes=0, resume=True)
    return out, copies


class Killed(BaseException):
    """Ends the training in place of SIGKILL."""


def weights(run_: RunFolder) -> list[np.ndarray]:
    return keras.saving.load_model(run_.folder / "model.keras").get_weights()


def epochs_in_tensorboard(run_: RunFolder) -> dict[str, list[int]]:
    found = {}
    for part in ("strict-pretraining", "strict", "refit"):
        for kind, tag in (("train", "epoch_loss"), ("augmenter", "histories/keep_rate")):
            events = EventAccumulator(str(run_.folder / "tensorboard" / part / kind))
            events.Reload()
            found[f"{part}/{kind}"] = [event.step for event in events.Tensors(tag)]
    return found


def test_killed_in_each_part_the_run_ends_with_the_same_weights(killed, uninterrupted):
    resumed = RunFolder.open(killed[0])
    assert len(killed[1]) == 3
    assert all(map(np.array_equal, weights(resumed), weights(uninterrupted)))
    for name in ("epochs-strict.csv", "epochs-refit.csv"):
        assert (resumed.folder / name).read_text() == (uninterrupted.folder / name).read_text(), name
    assert epochs_in_tensorboard(resumed) == epochs_in_tensorboard(uninterrupted)
    for name in ("best_epoch", "epochs_run", "validation", "refit_epochs"):
        assert resumed.record[name] == uninterrupted.record[name], name
    assert not (resumed.folder / "checkpoints").exists()


def test_a_finished_run_is_returned_as_it_is(short_data, uninterrupted):
    before = (uninterrupted.folder / "run.json").read_bytes()
    assert run(short_data, uninterrupted.folder, resume=True).record == uninterrupted.record
    assert (uninterrupted.folder / "run.json").read_bytes() == before


def test_another_training_is_not_resumed(short_data, killed):
    moment = killed[1][-1]
    other = TrainConfig.of(SETTINGS | {"width": 16})
    with pytest.raises(InputError, match="of another training: width differ"):
        train(short_data, moment, other, checkpoints=CheckpointSettings(resume=True), show_progress=False)
    assert TrainingCheckpoints(moment / "checkpoints")


def test_without_resume_checkpoints_are_not_overwritten(short_data, killed):
    with pytest.raises(InputError, match=r"holds checkpoints of a training. Resume it with --resume"):
        run(short_data, killed[1][-1])


def test_after_sigterm_the_command_resumes_and_ends_with_the_same_weights(data, tmp_path):
    """With traced steps, as in use."""
    settings = ["--preset=sasrec", "--set=width=8", "--set=n_recommender_blocks=0", "--set=targets_per_batch=20"]
    settings += ["--epochs=5", "--set=patience=5"]

    def command(out: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "laclrec_tf.cli.main", "train", str(data), "--out", str(out), *settings, *more]

    def finish(*arguments: str | Path) -> None:
        done = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    out, whole = tmp_path / "run", tmp_path / "whole"
    root = Path(laclrec_tf.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command(out), env=environment, stderr=subprocess.PIPE, text=True)
    log = out / "epochs-strict.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 1):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "interrupted" in error
    checkpoints = TrainingCheckpoints(out / "checkpoints")
    assert checkpoints.newest().about["epoch"] >= 1
    finish(out, "--resume")
    finish(whole)
    assert RunFolder.open(out).record["epochs_run"] == 5
    assert log.read_text() == (whole / "epochs-strict.csv").read_text()
    assert all(map(np.array_equal, weights(RunFolder.open(out)), weights(RunFolder.open(whole))))
    newest = checkpoints.newest()
    assert newest is not None and newest.about["finished"]  # it did all of its epochs


SHORT = {"preset": "sasrec", "pretrain_epochs": 0, "refit": False, "epochs": 4, "patience": 4}


@pytest.fixture(scope="module")
def stopped(short_data, tmp_path_factory) -> Path:
    """Return the folder of a training that was killed in its third epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    write = TrainingCheckpoints.write

    def write_and_die(checkpoints: TrainingCheckpoints, state) -> bool:
        if (state.about["epoch"], state.about["step"]) == (2, 1):
            write(checkpoints, state)
            raise Killed
        return True

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingCheckpoints, "write", write_and_die)
        short_run(short_data, out, minutes=0)
    return out


def short_run(data: Path, out: Path, settings: dict[str, int] | None = None, **keeping) -> RunFolder:
    config = TrainConfig.of({**SETTINGS, **SHORT, **(settings or {})})
    return train(data, out, config, checkpoints=CheckpointSettings(**keeping), show_progress=False)


def test_a_stopped_training_is_finished_with_its_best_epoch(short_data, stopped, tmp_path):
    out = shutil.copytree(stopped, tmp_path / "run")
    best = keras.saving.load_model(out / "best.keras").get_weights()
    finished = short_run(short_data, out, finish=True)
    assert all(map(np.array_equal, weights(finished), best))
    table = np.genfromtxt(out / "epochs-strict.csv", delimiter=",", names=True, deletechars="")
    assert finished.record["epochs_run"] == len(table["val_ndcg@10"]) == 2
    assert finished.record["best_epoch"] == np.argmax(table["val_ndcg@10"]) + 1
    assert finished.record["validation"]["ndcg@10"] == pytest.approx(table["val_ndcg@10"].max())
    assert not (out / "best.keras").exists() and not (out / "checkpoints").exists()
    assert short_run(short_data, out, finish=True).record == finished.record


def test_a_stopped_training_is_given_more_epochs(short_data, stopped, tmp_path):
    longer = {"epochs": 5, "patience": 5}
    resumed = short_run(short_data, shutil.copytree(stopped, tmp_path / "run"), longer, resume=True)
    whole = short_run(short_data, tmp_path / "whole", longer)
    assert resumed.record["epochs_run"] == 5
    assert all(map(np.array_equal, weights(resumed), weights(whole)))


def test_there_is_nothing_to_finish_before_the_first_epoch(short_data, stopped, tmp_path):
    with pytest.raises(InputError, match="has no checkpoint"):
        short_run(short_data, tmp_path / "new", finish=True)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="learning_rate differ"):
        short_run(short_data, shutil.copytree(stopped, tmp_path / "run"), {"learning_rate": 0.1}, finish=True)
