"""The work of one machine of a Vertex AI job: train, evaluate, export, and write everything to the bucket."""

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
from laclrec_tf.ops.finite import nonfinite_weight
from laclrec_tf.runtime.cloud_storage import reachable
from laclrec_tf.runtime.output_files import atomic_write, copy_whole
from laclrec_tf.serving.release.export import export
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE
from laclrec_tf.serving.version.manifest import verify_manifest
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import finished_before, train
from laclrec_tf.training.workers import WorkerGroup, agreed

METRIC = "ndcg_at_10"  # Vertex AI allows no "@" in the name of a metric
DEFAULT_FILE = "/tmp/hypertune/output.metrics"


def train_here(
    data: str, config: TrainConfig, environment: VertexTrainingEnvironment, workers: WorkerGroup | None = None
) -> Iterator[str]:
    """Train on this machine, and write the exported model to `model/` and the run to `run/`, next to each other.

    `laclrec-tf vertex deploy` takes the model; all other commands take the run. A job that is started again, e.g.
    because its spot machine was stopped, resumes from the newest checkpoint. If its model is there already, it does
    nothing. The model is exported to the machine's disk and then copied: a mounted bucket cannot rename folders.

    Args:
        data: a folder made by `laclrec-tf prepare`, local or "gs://...".
        config: settings of the training.
        environment: places of the results.
        workers: the machines that train together; only the chief writes. Default: this machine alone.

    Yields:
        A line of text after each step.

    Raises:
        InputError: the data cannot be read, `model/` holds a model of another job, or it cannot be written.
    """
    workers = workers or WorkerGroup()
    place, run = reachable(data), environment.model.parent / "run"
    with agreed(workers):
        is_done = _is_done(environment.model, run, config, place)
    if workers.largest(int(is_done)):
        yield f"{environment.model} has this job's model already"
        return
    done = train(
        place,
        run,
        config,
        checkpoints=CheckpointSettings(folder=environment.checkpoints, resume=True, keep_last=False),
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
    """Return whether this job has written its model; refuse a model of another job."""
    if not (model / SAVED_MODEL_FILE).exists():
        return False
    try:
        finished = finished_before(run, config, PreparedData.open(data))
        if finished is not None:
            verify_manifest(model)
            return True
        reason = f"{run} is not a finished run"
    except InputError as error:
        reason = str(error)
    raise InputError(
        f"{model} has a model already, which may be that of another job: {reason.rstrip('.')}. "
        "It is not overwritten. Give the job another name."
    )


@dataclass(frozen=True)
class VertexTrainingEnvironment:
    """Places of the results, as paths below the mounted buckets.

    Args:
        model: `AIP_MODEL_DIR`, folder of the exported model.
        checkpoints: `AIP_CHECKPOINT_DIR`, or None.
        tensorboard: `AIP_TENSORBOARD_LOG_DIR`, or None.

    Source: https://cloud.google.com/vertex-ai/docs/training/code-requirements
    """

    model: Path
    checkpoints: Path | None
    tensorboard: Path | None


def read_training_environment(environment: Mapping[str, str] = os.environ) -> VertexTrainingEnvironment:
    """Read Vertex AI's environment variables.

    Args:
        environment: values by name; an empty value counts as missing. Default: the environment of this process.

    Raises:
        InputError: `AIP_MODEL_DIR` is missing, or a bucket is not mounted.

    Example:
        >>> read_training_environment({"AIP_MODEL_DIR": "out/model"}).model
        PosixPath('out/model')
    """
    model = environment.get("AIP_MODEL_DIR")
    if not model:
        raise InputError(
            "AIP_MODEL_DIR is not set. Vertex AI sets it for jobs with a baseOutputDirectory; elsewhere set it to a "
            "folder for the model."
        )
    checkpoints, tensorboard = (
        reachable(place) if (place := environment.get(name)) else None
        for name in ("AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR")
    )
    return VertexTrainingEnvironment(reachable(model), checkpoints, tensorboard)


class TuningMetrics(keras.callbacks.Callback):
    """Write the validation metric after each epoch to the file that Vertex AI reads on a trial's machine.

    The format is that of cloudml-hypertune: a JSON object per line, numbers as strings.

    Args:
        monitor: name of the metric in the logs of an epoch; higher is better. Default: "val_ndcg@10".
        environment: variables by name, with `CLOUD_ML_HP_METRIC_FILE` and `CLOUD_ML_TRIAL_ID`. Default: the
            environment of this process.

    Source: https://github.com/GoogleCloudPlatform/cloudml-hypertune
    """

    def __init__(self, monitor: str = "val_ndcg@10", environment: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.monitor = monitor
        self.file = Path(environment.get("CLOUD_ML_HP_METRIC_FILE") or DEFAULT_FILE)
        self.trial = environment.get("CLOUD_ML_TRIAL_ID") or "0"
        self.lines: list[str] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add a line for the epoch, unless it had no validation or a weight is not finite."""
        value = (logs or {}).get(self.monitor)
        if value is None or (self.model is not None and nonfinite_weight(self.model.weights) is not None):
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
    """Return whether this process is a trial of a tuning job."""
    return bool(environment.get("CLOUD_ML_TRIAL_ID"))
