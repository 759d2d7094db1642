"""Train a preset on prepared data and leave a run folder."""

from __future__ import annotations

import errno
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
from laclrec_tf.run_folder import FORMAT_VERSION, RunFolder, check_new_run, has_epochs, write_record
from laclrec_tf.runtime.machine import package_versions
from laclrec_tf.runtime.output_files import new_folder
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.runtime.terminal import readable_warnings, terminal
from laclrec_tf.training.checkpoints import CheckpointSettings, CheckpointTimer, TrainingCheckpoints
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.session import TrainingSession
from laclrec_tf.training.workers import WorkerGroup, agreed, lost_workers_named

_CODES = (errno.ENOSPC, errno.EDQUOT)


def finished_before(out: Path, config: TrainConfig, prepared: PreparedData) -> RunFolder | None:
    """Return the run that the same training has ended with already, if it has.

    Args:
        out: its run folder.
        config: settings.
        prepared: the data.

    Raises:
        InputError: it is the run of another training.
    """
    if not (out / "run.json").exists():
        return None
    finished = RunFolder.open(out)
    theirs = finished.record
    if "every_setting" in theirs:  # runs of earlier versions do not have it
        differing = _differing(config.every_setting(), theirs["every_setting"])
    else:
        differing = _differing(json.loads(json.dumps(config.as_dict())), theirs["settings"])
    differing += ["the prepared data"] if prepared.data_hash != theirs["data_hash"] else []
    if differing:
        raise InputError(
            f"{out} holds the finished run of another training: {', '.join(differing)} differ. Choose another --out."
        )
    return finished


def check_place(out: Path, kept: TrainingCheckpoints, resume: bool) -> None:
    """Refuse a run folder that is something else, or a training that would be lost by beginning anew.

    Args:
        out: the run folder to be.
        kept: the checkpoints that belong to it.
        resume: whether training goes on from them.

    Raises:
        InputError: it is not to be trained there.
    """
    if resume:
        strange = {file.name for file in out.iterdir() if not _of_a_beginning(file)} if out.is_dir() else set()
        if strange and not kept and not has_epochs(out):
            raise InputError(f"{out} holds {min(strange)} and no training to go on with. Choose another --out.")
        return
    if kept:
        raise InputError(f"{kept.folder} holds checkpoints of a training. Go on with --resume, or delete them first.")
    check_new_run(out)


def _of_a_beginning(file: Path) -> bool:
    """Say whether a training that was killed before its first epoch was done left a file."""
    begun = re.fullmatch(r"epochs-\w+\.csv", file.name) is not None and not file.stat().st_size
    return begun or file.name in {"tensorboard", "checkpoints"}


def check_validation(session: TrainingSession) -> None:
    """Refuse data that nothing can be validated on.

    Raises:
        InputError: no history has three events.
    """
    if all(held_out(history, "validation") is None for history in session.histories):
        raise InputError(
            f"{session.prepared.folder} has no history of three or more events, so none to validate on. "
            "Prepare more events."
        )


def check_same_training(session: TrainingSession) -> None:
    """Refuse to go on from the checkpoint of another training.

    Raises:
        InputError: settings, data, workers or versions differ; the message names them.
    """
    if session.state is None:
        return
    ours, theirs = session.identity(), session.state.about
    differing = _differing(ours["settings"], theirs["settings"])
    differing += ["the prepared data"] if ours["data_hash"] != theirs["data_hash"] else []
    differing += ["the number of workers"] if ours["workers"] != theirs["workers"] else []
    differing += ["the versions of " + " and ".join(_differing(ours["versions"], theirs["versions"]))] * (
        ours["versions"] != theirs["versions"]
    )
    if differing:
        raise InputError(
            f"The checkpoints in {session.checkpoints.folder} are of another training: {', '.join(differing)} differ. "
            "Resume with what it began with, or delete them to train anew."
        )


def check_same_checkpoint(session: TrainingSession) -> None:
    """Refuse workers that go on from different checkpoints; each must call this.

    Raises:
        InputError: they do not see the same folder.
    """
    state, workers = session.state, session.workers
    place = [] if state is None else [state.about[name] for name in ("part", "objective", "epoch", "step", "seconds")]
    told = zlib.crc32(json.dumps(place).encode()) >> 1  # what workers tell each other is an int32
    with lost_workers_named(workers):
        same = workers.smallest(told) == workers.largest(told)
    if not same:
        raise InputError(
            f"The workers do not see the same checkpoints in {session.checkpoints.folder}. Give --checkpoints a folder "
            "that all of them can read."
        )


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, value in ours.items() if value != theirs.get(name))


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Turn TensorFlow's error of a full disk, or of a quota that is used up, into an `OSError`.

    TensorFlow has one kind of error for these and for memory that ran out; only the system's own words tell them apart.

    Raises:
        OSError: there is no room to write to. TensorFlow's other errors stay as they are.

    Example:
        >>> with full_disk_told():
        ...     raise tf.errors.ResourceExhaustedError(None, None, "events.out; No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device
    """
    try:
        yield
    except tf.errors.OpError as error:
        for code in _CODES:
            if os.strerror(code) in error.message:
                raise OSError(code, os.strerror(code)) from error
        raise


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
