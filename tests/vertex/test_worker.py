"""The source distribution in a fresh environment, run by the job's command with Vertex AI's variables."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.models import LACLRec
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime import cloud_storage
from laclrec_tf.serving.version.manifest import verify
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train
from laclrec_tf.vertex.submit import build_source_distribution
from laclrec_tf.vertex.worker import (
    TuningMetrics,
    VertexTrainingEnvironment,
    is_tuning_trial,
    read_training_environment,
    train_here,
)


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


def test_a_broken_model_has_no_line(tmp_path):
    file = tmp_path / "output.metrics"
    report = TuningMetrics(environment={"CLOUD_ML_HP_METRIC_FILE": str(file)})
    report.set_model(LACLRec(5, width=8))
    report.on_epoch_end(0, {"val_ndcg@10": 0.25})
    report.model.item_vectors.assign(report.model.item_vectors * np.nan)
    report.on_epoch_end(1, {"val_ndcg@10": 1.0})
    assert len(file.read_text().splitlines()) == 1


def test_only_a_trial_is_one():
    assert is_tuning_trial({"CLOUD_ML_TRIAL_ID": "1"})
    assert not is_tuning_trial({})


def test_buckets_become_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    found = read_training_environment(
        {
            "AIP_MODEL_DIR": "gs://shop/may/model/",
            "AIP_CHECKPOINT_DIR": "gs://shop/may/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": "gs://shop/may/logs/",
        }
    )
    assert found.checkpoints == tmp_path / "shop/may/checkpoints"
    assert found.model == tmp_path / "shop/may/model"
    assert found.tensorboard == tmp_path / "shop/may/logs"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "AIP_MODEL_DIR is not set"),
        ({"AIP_MODEL_DIR": "gs://no-such-bucket/m"}, "must be mounted at /gcs/no-such-bucket"),
    ],
)
def test_mistakes(environment, says):
    with pytest.raises(InputError, match=says):
        read_training_environment(environment)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Return the Python of an environment with the package; its requirements come from this environment."""
    folder = tmp_path_factory.mktemp("machine")
    package = build_source_distribution(folder)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    # This environment's packages, without the checkout that an editable installation would add.
    (site / "requirements.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    pip += ["--no-build-isolation", "--no-index", "--ignore-installed", "--disable-pip-version-check", str(package)]
    subprocess.run(pip, check=True, capture_output=True)
    return python


def run(program, *arguments, cwd, **variables):
    """Run a program with nothing of the checkout on the path."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=clean | variables, capture_output=True, text=True, check=False)


def vertex_run(machine, *arguments, cwd, **variables):
    """Run the installed command."""
    return run(machine.parent / "laclrec-tf", "vertex", "run", *arguments, cwd=cwd, **variables)


def test_a_trial_trains_reports_and_leaves_a_model(machine, data, tmp_path):
    where = run(machine, "-c", "import laclrec_tf; print(laclrec_tf.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(machine.parents[1])

    out = tmp_path / "job/3"
    variables = {
        "AIP_MODEL_DIR": f"{out}/model/",
        "AIP_CHECKPOINT_DIR": f"{out}/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{out}/logs/",
        "CLOUD_ML_PROJECT_ID": "shop-project",
        "CLOUD_ML_TRIAL_ID": "3",
        "CLOUD_ML_HP_METRIC_FILE": str(tmp_path / "hypertune/output.metrics"),
        "CLUSTER_SPEC": json.dumps(
            {"cluster": {"workerpool0": ["cmle-training-1:2222"]}, "task": {"type": "workerpool0", "index": 0}}
        ),
    }
    settings = ["--set=preset=sasrec", "--set=epochs=2", "--set=n_recommender_blocks=0", "--set=max_insertions=1"]
    settings += ["--width=8"]
    done = vertex_run(machine, data, *settings, cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr

    record = RunFolder.open(out / "run").record
    assert record["settings"]["model"]["width"] == 8  # the tuning job's parameter
    assert verify(out / "model", show_progress=False)[0] == out / "model"
    assert list((out / "logs/strict").rglob("events.out.tfevents.*"))
    reported = [json.loads(line) for line in (tmp_path / "hypertune/output.metrics").read_text().splitlines()]
    assert [(line["trial"], line["global_step"]) for line in reported] == [("3", "1"), ("3", "2")]
    best = max(float(line["ndcg_at_10"]) for line in reported)
    assert best == pytest.approx(record["validation"]["ndcg@10"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["gs://no-such-bucket/data"],
            "gs://no-such-bucket/data must be mounted at /gcs/no-such-bucket, which does not exist",
        ),
        (["data", "--width"], "as --NAME=VALUE. Received: '--width'"),
    ],
)
def test_mistakes_cost_one_line(monkeypatch, capsys, tmp_path, arguments, says):
    monkeypatch.setenv("AIP_MODEL_DIR", str(tmp_path / "model"))
    with pytest.raises(SystemExit) as exit_:
        main(["vertex", "run", *arguments])
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert error.count("\n") == 1
    assert says in error


class Preemption(keras.callbacks.Callback):
    """Stops the machine after the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("untraced_here")
def test_a_job_started_again_resumes_from_its_checkpoint(data, tmp_path):
    small = {"preset": "sasrec", "width": 8, "n_recommender_blocks": 0, "max_insertions": 1, "targets_per_batch": 2000}
    config = TrainConfig.of(small | {"epochs": 4})
    environment = VertexTrainingEnvironment(tmp_path / "model", tmp_path / "checkpoints", None)
    with pytest.raises(KeyboardInterrupt):
        # A checkpoint after every step, in the environment's folder.
        often = CheckpointSettings(minutes=0, folder=environment.checkpoints)
        train(data, tmp_path / "run", config, checkpoints=often, callbacks=[Preemption()], show_progress=False)
    (tmp_path / "run/epochs-strict.csv").unlink()  # a mounted bucket may not have it

    said = list(train_here(str(data), config, environment))
    assert said[-1] == f"wrote {tmp_path / 'model'}"
    with (tmp_path / "run/epochs-strict.csv").open() as rows:
        assert [row["epoch"] for row in csv.DictReader(rows)][-2:] == ["2", "3"]
        rows.seek(0)
        assert "0" not in [row["epoch"] for row in csv.DictReader(rows)]
    assert not list((tmp_path / "checkpoints").glob("*"))  # a finished run has none left

    # A job that is stopped between the copy and its exit is started once more.
    model = environment.model
    assert list(train_here(str(data), config, environment)) == [f"{model} has this job's model already"]
    other = TrainConfig.of(small | {"epochs": 5})
    with pytest.raises(InputError, match="has a model already, .* epochs differ.* Give the job another name"):
        list(train_here(str(data), other, environment))
    (model / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not as it was exported.* Give the job another name"):
        list(train_here(str(data), config, environment))


def test_two_machines_train_one_model(machine, data, tmp_path):
    out = tmp_path / "job"
    ports = free_ports(2)
    cluster = {"workerpool0": [f"127.0.0.1:{ports[0]}"], "workerpool1": [f"127.0.0.1:{ports[1]}"]}

    def start(pool):
        spec = {"cluster": cluster, "task": {"type": pool, "index": 0}, "environment": "cloud"}
        return vertex_run(
            machine,
            *(data, "--set=preset=sasrec", "--set=epochs=1", "--set=width=8"),
            *("--set=n_recommender_blocks=0", "--set=max_insertions=1"),
            cwd=tmp_path,
            AIP_MODEL_DIR=f"{out}/model/",
            AIP_CHECKPOINT_DIR=f"{out}/checkpoints/",
            CLUSTER_SPEC=json.dumps(spec),
        )

    with ThreadPoolExecutor(2) as both:
        chief, worker = both.map(start, ("workerpool0", "workerpool1"))
    assert chief.returncode == worker.returncode == 0, chief.stderr + worker.stderr
    assert worker.stdout == "done; the chief writes the run and the model\n"
    assert (out / "model/saved_model.pb").exists()
    assert RunFolder.open(out / "run").record["epochs_run"] == 1


def free_ports(count):
    """Return free ports of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
