"""Train a preset on prepared data and leave a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out, training_part
from laclrec_tf.errors import InputError
from laclrec_tf.models import LACLRec
from pipelines.checkpoint_settings import CheckpointSettings
from pipelines.config import TrainConfig
from pipelines.new_folder import new_folder
from pipelines.run_folder import FORMAT_VERSION, RunFolder, check_new_run, has_epochs, package_versions, write_record
from pipelines.training_checkpoints import TrainingCheckpoints
from pipelines.training_session import TrainingSession
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
            targets. Their checkpoints are of an epoch's start, in a folder that all can read. Default: one alone.
        tensorboard: where TensorBoard's logs go. Default: `tensorboard/` in `out`.
        callbacks: see each epoch with its validation, on the chief. Default: none.
        show_progress: a bar and a line for each epoch on standard error. Default: True.

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
    prepared = PreparedData.open(data)
    kept = TrainingCheckpoints(checkpoints.folder_for(out), checkpoints.kept)
    if checkpoints.resume and (out / "run.json").exists():
        return RunFolder.open(out)
    if not checkpoints.resume and kept:
        raise InputError(f"{kept.folder} holds checkpoints of a training. Go on with --resume, or delete them first.")
    if not checkpoints.resume and workers.is_chief:
        check_new_run(out)
    session = TrainingSession(
        prepared,
        config,
        out,
        workers,
        kept,
        checkpoints.minutes,
        kept.newest() if checkpoints.resume else None,
        tensorboard=out / "tensorboard" if tensorboard is None else Path(tensorboard),
        callbacks=tuple(callbacks),
        show_progress=show_progress,
    )
    _check_validation(session)
    _check_same_training(session)
    if not workers.is_chief:
        with _lost_workers_named(session):
            _train_parts(session)
        return None
    with new_folder(out, lambda folder: has_epochs(folder) or bool(kept)), _lost_workers_named(session):
        _write_run(session)
    kept.remove()
    return RunFolder.open(out)


@contextmanager
def _lost_workers_named(session: TrainingSession) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        if session.workers.is_alone:
            raise
        raise InputError(
            f"Worker {session.workers.index} of {session.workers.count} lost touch with another, whose log says why "
            f"({' '.join(error.message.split())[:200]}). Start all of them again with --resume."
        ) from error


def _check_validation(session: TrainingSession) -> None:
    if all(held_out(history, "validation") is None for history in session.histories):
        raise InputError(
            f"{session.prepared.folder} has no history of three or more events, so none to validate on. "
            "Prepare more events."
        )


def _check_same_training(session: TrainingSession) -> None:
    epoch = -1 if session.state is None else int(session.state.about["epoch"])
    if session.workers.smallest(epoch) != session.workers.largest(epoch):
        raise InputError(
            f"The workers do not see the same checkpoints in {session.checkpoints.folder}. Give --checkpoints a folder "
            "that all of them can read."
        )
    if session.state is None:
        return
    ours, theirs = session.identity(), session.state.about
    differing = sorted(name for name, value in ours["settings"].items() if value != theirs["settings"].get(name))
    differing += ["the prepared data"] if ours["data_hash"] != theirs["data_hash"] else []
    differing += ["the number of workers"] if ours["workers"] != theirs["workers"] else []
    if differing:
        raise InputError(
            f"The checkpoints in {session.checkpoints.folder} are of another training: {', '.join(differing)} differ. "
            "Resume with what it began with, or delete them to train anew."
        )


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
        "versions": package_versions(),
    }
    write_record(out, record)
