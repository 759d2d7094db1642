"""Train a preset on prepared data and leave a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import training_part
from laclrec_tf.models import LACLRec
from laclrec_tf.run_folder import FORMAT_VERSION, RunFolder, has_epochs, package_versions, write_record
from laclrec_tf.runtime.output_files import new_folder
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.runtime.terminal import readable_warnings, terminal
from pipelines.checkpoint_settings import CheckpointSettings
from pipelines.checkpoint_timer import CheckpointTimer
from pipelines.config import TrainConfig
from pipelines.full_disk import full_disk_told
from pipelines.training_checkpoints import TrainingCheckpoints
from pipelines.training_checks import (
    check_place,
    check_same_checkpoint,
    check_same_training,
    check_validation,
    finished_before,
)
from pipelines.training_session import TrainingSession
from pipelines.worker_agreement import agreed, lost_workers_named
from pipelines.worker_group import WorkerGroup


def train(
    data: str | Path,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    checkpoints: CheckpointSettings | None = None,
    workers: WorkerGroup | None = None,
    tensorboard: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    boards: bool = True,
    show_progress: bool = True,
) -> RunFolder | None:
    """Train on prepared data, keep the weights of the best validation epoch, and write a run folder.

    With `config.refit` the epoch count is found so first (or taken from `config.refit_epochs`), then a new
    model is trained for that many epochs on everything before the test item.

    An error or an interruption before the first epoch is done leaves no folder; later it leaves what was done so far,
    with the best weights in `best.keras`, and no `run.json`. Every few minutes, and on SIGTERM, the whole state is kept
    in a checkpoint, from which `CheckpointSettings(resume=True)` goes on in the middle of an epoch: the run ends with
    the weights of one that was never disturbed. A finished run has none left.

    Args:
        data: a folder made by `laclrec-tf prepare`.
        out: the run folder to make.
        config: settings. Default: `TrainConfig()`, the preset "laclrec".
        checkpoints: how often the state is kept, and whether training goes on from it. Default:
            `CheckpointSettings()`.
        workers: who trains together, see `join_workers`: each on its own shards and with its share of a batch's
            targets. All of them must be able to read the checkpoints' folder. Default: one alone.
        tensorboard: where TensorBoard's logs go. Default: `tensorboard/` in `out`.
        callbacks: see each epoch with its validation, on the chief. Default: none.
        boards: TensorBoard also gets histograms of the augmenter's edits, three histories before and after them, and
            the item vectors, which take about a second each epoch of a large catalogue. Default: True.
        show_progress: a bar and a row for each epoch on standard error. Default: True.

    Returns:
        The finished run; with `resume` that of a training that had ended already. None on a worker that is not the
        chief, who alone writes.

    Raises:
        InputError: the data cannot be read, nothing in it can be trained on, the settings do not fit it or the
            checkpoint, or `out` exists already or cannot be written.
        KeyboardInterrupt: SIGTERM has come.
    """
    config = config or TrainConfig()
    checkpoints = checkpoints or CheckpointSettings()
    workers = workers or WorkerGroup()
    out = Path(out)
    kept = TrainingCheckpoints(checkpoints.folder_for(out), checkpoints.kept)
    with agreed(workers):
        prepared = PreparedData.open(data)
        finished = finished_before(out, config, prepared) if checkpoints.resume else None
        if finished is None and workers.is_chief:
            check_place(out, kept, checkpoints.resume)
    if workers.largest(int(finished is not None)):
        return _without_checkpoints(finished, kept) if workers.is_chief else None
    # A damaged checkpoint that is skipped is a warning.
    with agreed(workers), readable_warnings(terminal(stderr=True), disable=not show_progress):
        session = TrainingSession(
            prepared,
            config,
            out,
            workers,
            kept,
            CheckpointTimer(checkpoints.minutes),
            StopRequest(),
            kept.newest() if checkpoints.resume else None,
            tensorboard=out / "tensorboard" if tensorboard is None else Path(tensorboard),
            callbacks=tuple(callbacks),
            boards=boards,
            show_progress=show_progress,
        )
        check_validation(session)
        check_same_training(session)
    check_same_checkpoint(session)
    if not workers.is_chief:
        with lost_workers_named(workers):
            _train_parts(session)
        return None
    # A full disk comes first: it is no other worker's.
    with (
        new_folder(out, lambda folder: has_epochs(folder) or bool(kept)),
        lost_workers_named(workers),
        full_disk_told(),
    ):
        _write_run(session)
    return _without_checkpoints(RunFolder.open(out), kept)


def _train_parts(session: TrainingSession) -> tuple[LACLRec, dict[str, Any]]:
    config, state = session.config, session.state
    record: dict[str, Any] = dict(state.about["record"]) if state else {"trained_on": "strict"}
    strict_is_done = state is not None and state.about["part"] == "refit"
    if (config.refit_epochs is None or not config.refit) and not strict_is_done:
        model, best = session.fit("strict", config.epochs, record)
        record |= best
    if config.refit:
        record |= {"trained_on": "refit", "refit_epochs": config.refit_epochs or record["best_epoch"]}
        model, _ = session.fit("refit", record["refit_epochs"], record)
    return model, record


def _write_run(session: TrainingSession) -> None:
    model, record = _train_parts(session)
    prepared, out = session.prepared, session.out
    model.save(out / "model.keras")
    prepared.vocabulary.save(out / "vocabulary.txt")
    trained = np.concatenate([training_part(history, record["trained_on"]) for history in session.all_histories()])
    np.save(out / "popularity.npy", np.bincount(trained, minlength=model.n_items + 1)[1:])
    record |= {
        "format_version": FORMAT_VERSION,
        "data_folder": str(prepared.folder.resolve()),
        "data_hash": prepared.data_hash,
        "data_counts": dict(prepared.counts),
        "max_length": prepared.max_length,
        "seconds": round(session.seconds, 1),
        "settings": session.config.as_dict(),
        "every_setting": session.config.every_setting(),
        "versions": package_versions(),
    }
    write_record(out, record)


def _without_checkpoints(finished: RunFolder | None, kept: TrainingCheckpoints) -> RunFolder | None:
    kept.remove()
    return finished
