"""What a machine of a Vertex AI job does: train, evaluate, export, and leave all in the bucket."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.runtime.cloud_storage import reachable
from laclrec_tf.runtime.output_files import atomic_write, copy_whole
from laclrec_tf.serving.release.export import export
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE
from laclrec_tf.serving.version.manifest import verify_manifest
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import finished_before, train
from laclrec_tf.training.workers import WorkerGroup, agreed

METRIC = "ndcg_at_10"  # "@" is no character of a metric's name there
DEFAULT_FILE = "/tmp/hypertune/output.metrics"


@dataclass(frozen=True)
class VertexTrainingEnvironment:
    """Where results go, as paths below the mounted buckets.

    Args:
        model: `AIP_MODEL_DIR`: what is served later.
        checkpoints: `AIP_CHECKPOINT_DIR`, or None.
        tensorboard: `AIP_TENSORBOARD_LOG_DIR`, or None.

    Source: https://cloud.google.com/vertex-ai/docs/training/code-requirements
    """

    model: Path
    checkpoints: Path | None
    tensorboard: Path | None


def read_training_environment(environment: Mapping[str, str] = os.environ) -> VertexTrainingEnvironment:
    """Read the variables.

    Args:
        environment: the variables by name; empty ones say nothing. Default: this process's.

    Raises:
        InputError: `AIP_MODEL_DIR` is missing, or a bucket is not mounted.

    Example:
        >>> read_training_environment({"AIP_MODEL_DIR": "out/model"}).model
        PosixPath('out/model')
    """
    model = environment.get("AIP_MODEL_DIR")
    if not model:
        raise InputError(
            "AIP_MODEL_DIR is not set. Vertex AI sets it for jobs with a baseOutputDirectory; elsewhere set it to the "
            "folder that the model shall go to."
        )
    checkpoints, tensorboard = (
        reachable(place) if (place := environment.get(name)) else None
        for name in ("AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR")
    )
    return VertexTrainingEnvironment(reachable(model), checkpoints, tensorboard)


class TuningMetrics(keras.callbacks.Callback):
    """Write the validation metric after each epoch into the file that Vertex AI reads on a trial's machine.

    The format is cloudml-hypertune's: a JSON object a line, numbers as strings.

    Args:
        monitor: the metric among an epoch's, more is better. Default: "val_ndcg@10".
        environment: variables by name: `CLOUD_ML_HP_METRIC_FILE`, and `CLOUD_ML_TRIAL_ID`. Default: this process's.

    Source: https://github.com/GoogleCloudPlatform/cloudml-hypertune
    """

    def __init__(self, monitor: str = "val_ndcg@10", environment: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.monitor = monitor
        self.file = Path(environment.get("CLOUD_ML_HP_METRIC_FILE") or DEFAULT_FILE)
        self.trial = environment.get("CLOUD_ML_TRIAL_ID") or "0"
        self.lines: list[str] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch's line; an epoch without validation has none."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            return
        line = {
            "timestamp": time.time(),
            "trial": self.trial,
            METRIC: str(float(value)),
            "global_step": str(epoch + 1),
            "checkpoint_path": "",
        }
        self.lines.append(json.dumps(line, sort_keys=True) + "\n")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.file) as partial:  # the tuning service reads the file during training
            partial.write_text("".join(self.lines), encoding="utf-8")


def is_tuning_trial(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether this process is a trial of a tuning job."""
    return bool(environment.get("CLOUD_ML_TRIAL_ID"))


def train_here(
    data: str, config: TrainConfig, environment: VertexTrainingEnvironment, workers: WorkerGroup | None = None
) -> Iterator[str]:
    """Train on this machine; `model/` is what `vertex deploy` takes, `run/` beside it what all other commands take.

    Started again, as a spot machine's job is, it goes on from the newest checkpoint; a job that had left its model
    already has nothing to do. The model is exported on the
    machine's disk and then copied: a mounted bucket cannot rename folders.

    Args:
        data: "gs://..." of a folder made by `laclrec-tf prepare`, or its path.
        config: settings.
        environment: what Vertex AI says.
        workers: who trains together; the chief alone writes. Default: one alone.

    Yields:
        What was done, a line each.

    Raises:
        InputError: the data cannot be read, there is another model already, or nothing can be written.
    """
    workers = workers or WorkerGroup()
    place, run = reachable(data), environment.model.parent / "run"
    with agreed(workers):
        is_done = _is_done(environment.model, run, config, place)
    if workers.largest(int(is_done)):
        yield f"{environment.model} holds this job's model already"
        return
    done = train(
        place,
        run,
        config,
        checkpoints=CheckpointSettings(folder=environment.checkpoints, resume=True),
        workers=workers,
        tensorboard=environment.tensorboard,
        callbacks=[TuningMetrics()] if is_tuning_trial() else [],
    )
    if done is None or not workers.is_chief:
        yield "done; the chief writes the run and the model"
        return
    record = done.record
    yield f"trained: {record['trained_on']}, {record['seconds']:.0f} s, wrote {run}"
    report = evaluate(run)
    yield f"test: ndcg@10 {report['ndcg@10']:.4f}, recall@10 {report['recall@10']:.4f}"
    with tempfile.TemporaryDirectory(prefix="laclrec-") as scratch:
        version = export(run, Path(scratch, "model"))
        yield f"wrote {copy_whole(version, environment.model, last=SAVED_MODEL_FILE)}"


def _is_done(model: Path, run: Path, config: TrainConfig, data: Path) -> bool:
    """Say whether this very job was here and came to its end; refuse what another one left."""
    if not (model / SAVED_MODEL_FILE).exists():
        return False
    try:
        finished = finished_before(run, config, PreparedData.open(data))
        if finished is not None:
            verify_manifest(model)
            return True
        reason = f"{run} beside it is no finished run"
    except InputError as error:
        reason = str(error)
    raise InputError(
        f"{model} holds a model already, of which it is not sure that this job left it: {reason.rstrip('.')}. "
        "It is not overwritten: give the job another name."
    )
