"""What a machine of a Vertex AI job does: train, evaluate, export, and leave all in the bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.runtime.cloud_storage import reachable
from laclrec_tf.runtime.output_files import copy_whole
from laclrec_tf.serving.release.export import export
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE
from laclrec_tf.serving.version.manifest import verify_manifest
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import finished_before, train
from laclrec_tf.training.workers import WorkerGroup, agreed
from pipelines.tuning_metrics import TuningMetrics, is_tuning_trial
from pipelines.vertex_training_environment import VertexTrainingEnvironment


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
