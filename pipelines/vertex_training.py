"""What a machine of a Vertex AI job does: train, evaluate, export, and leave all in the bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.serving.model_versions import SAVED_MODEL_FILE
from pipelines.config import TrainConfig
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.gcs_paths import reachable
from pipelines.run_folder import check_new_run
from pipelines.train import train
from pipelines.tuning_metrics import TuningMetrics, is_tuning_trial
from pipelines.vertex_training_environment import VertexTrainingEnvironment
from pipelines.whole_copy import copy_whole


def train_here(data: str, config: TrainConfig, environment: VertexTrainingEnvironment) -> Iterator[str]:
    """Train on this machine; `model/` is what `vertex deploy` takes, `run/` beside it what all other commands take.

    All is made on the machine's disk and then copied: a mounted bucket cannot rename folders.

    Args:
        data: "gs://..." of a folder made by `laclrec-tf prepare`, or its path.
        config: settings.
        environment: what Vertex AI says.

    Yields:
        What was done, a line each.

    Raises:
        InputError: the data cannot be read, there are results already, or nothing can be written.
    """
    if environment.machines > 1:
        raise InputError(
            f"CLUSTER_SPEC names {environment.machines} machines, and training runs on one. Submit with --replicas 1."
        )
    run = environment.model.parent / "run"
    check_new_run(run)
    check_new_run(environment.model)
    place = reachable(data)
    PreparedData.open(place)
    callbacks: list[keras.callbacks.Callback] = [TuningMetrics()] if is_tuning_trial() else []
    with tempfile.TemporaryDirectory(prefix="laclrec-") as scratch:
        made = Path(scratch, "run")
        record = train(place, made, config, tensorboard=environment.tensorboard, callbacks=callbacks).record
        yield f"trained: {record['trained_on']}, {record['seconds']:.0f} s"
        report = evaluate(made)
        yield f"test: ndcg@10 {report['ndcg@10']:.4f}, recall@10 {report['recall@10']:.4f}"
        version = export(made, Path(scratch, "model"))
        yield f"wrote {copy_whole(made, run, last='run.json')}"
        yield f"wrote {copy_whole(version, environment.model, last=SAVED_MODEL_FILE)}"
