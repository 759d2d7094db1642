"""Train a preset on prepared data and write a run folder: the function of the command `train`."""

from __future__ import annotations

import errno
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import SplitHistories
from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import FORMAT_VERSION, RECORD_FILE, RunFolder, check_new_run, has_epochs, write_record
from laclrec_tf.runtime.machine import package_versions
from laclrec_tf.runtime.output_files import new_folder
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.runtime.terminal import readable_warnings, spinner, terminal
from laclrec_tf.training.calibration import calibration_of
from laclrec_tf.training.checkpoints import CheckpointSettings, CheckpointTimer, TrainingCheckpoints
from laclrec_tf.training.config import ADDED_SETTINGS, TrainConfig
from laclrec_tf.training.counting import count_run
from laclrec_tf.training.session import TrainingSession
from laclrec_tf.training.setup import Derived, config_for_data, settings_of_data
from laclrec_tf.training.workers import WorkerGroup, agreed, lost_worker_as_input_error

# Settings that may differ when a finished run is trained longer.
_LONGER = ("epochs", "patience")


def train(
    data: str | Path,
    out: str | Path,
    config: TrainConfig | Mapping[str, Any] | None = None,
    *,
    checkpoints: CheckpointSettings | None = None,
    workers: WorkerGroup | None = None,
    tensorboard: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    boards: bool = True,
    show_progress: bool = True,
    calibrated: RunFolder | None = None,
) -> RunFolder | None:
    """Train on prepared data, keep the weights of the best validation epoch, and write a run folder.

    With `config.refit` this finds the number of epochs (or takes it from `config.refit_epochs`), then trains a new
    model for that many epochs on everything before the test item.

    A counted preset is not trained: its model is counted in seconds and measured on validation, and there are no epochs
    and checkpoints.

    An error or an interruption before the end of the first epoch leaves no folder. Later it leaves the results so far,
    with the best weights in `best.keras`, but no `run.json`. Every few minutes, and on SIGTERM and Ctrl-C, the whole
    state is written to a checkpoint. `CheckpointSettings(resume=True)` resumes from it, also in the middle of an epoch,
    and ends with the same weights as an uninterrupted training. With another `config.epochs` or `config.patience` it
    resumes a stopped training, too, and with more epochs a finished run that did all of its epochs: such a run keeps
    its last checkpoint, any other finished run none. `CheckpointSettings(finish=True)` ends a stopped training with its
    best epoch so far.

    Args:
        data: folder made by `laclrec-tf prepare`.
        out: run folder to write.
        config: settings, also as a dict for `TrainConfig.of`. Default: `TrainConfig()`, the preset "laclrec".
        checkpoints: how often checkpoints are written, and whether to resume from them. Default:
            `CheckpointSettings()`.
        workers: processes that train together, see `join_workers`. Each reads its own shards and computes its share of
            a batch's targets. All must be able to read the checkpoints' folder. Default: this process alone.
        tensorboard: folder of TensorBoard's logs. Default: `tensorboard/` in `out`.
        callbacks: more callbacks, called on the chief. They see each epoch's logs with its validation. Default: none.
        boards: whether TensorBoard also gets histograms of the augmenter's edits, three histories before and after
            editing, and the item vectors. For a large catalogue this takes about a second each epoch. Default: True.
        show_progress: whether to show a progress bar and print a row for each epoch on standard error. Default: True.
        calibrated: a strict run with the same settings, whose calibration a refit with `config.refit_epochs` takes
            over. Default: None; such a refit is not calibrated.

    Returns:
        The finished run; with `resume` also one that was finished before. None on a worker that is not the chief,
        because only the chief writes.

    Raises:
        InputError: the data cannot be read or trained on, the settings do not fit the data or the checkpoint, or `out`
            exists or cannot be written.
        KeyboardInterrupt: SIGTERM or SIGINT was received.
    """
    if isinstance(config, Mapping):
        config = TrainConfig.of(config)
    if not isinstance(config, TrainConfig | None):
        raise InputError(f"Argument `config` must be a TrainConfig or a dict. Received: a {type(config).__name__}.")
    config = config or TrainConfig()
    checkpoints = checkpoints or CheckpointSettings()
    if checkpoints.finish:
        checkpoints = replace(checkpoints, resume=True)
    workers = workers or WorkerGroup()
    out = Path(out)
    kept = TrainingCheckpoints(checkpoints.folder_for(out), checkpoints.kept)
    with agreed(workers):
        prepared = PreparedData.open(data)
        derived = settings_of_data(config, prepared)
        config = config_for_data(config, prepared)
        if calibrated is not None:
            _check_calibrated(calibrated, config, prepared)
        finished = finished_before(out, config, prepared) if checkpoints.resume else None
        is_longer = checkpoints.resume and finished is None and (out / RECORD_FILE).exists()
        if finished is None and workers.is_chief:
            check_place(out, kept, checkpoints.resume)
    if workers.largest(int(finished is not None)):
        return _without_checkpoints(finished, kept) if workers.is_chief else None
    if config.is_counted:
        return _counted(prepared, config, out, show_progress) if workers.is_chief else None
    # Reading the checkpoints warns of damaged ones.
    with agreed(workers), readable_warnings(terminal(stderr=True), disable=not show_progress):
        session = TrainingSession(
            prepared,
            config,
            out,
            workers,
            kept,
            CheckpointTimer(checkpoints.minutes),
            StopRequest("Stopping after this step, with a checkpoint. Press Ctrl-C again to stop at once."),
            kept.newest() if checkpoints.resume else None,
            tensorboard=out / "tensorboard" if tensorboard is None else Path(tensorboard),
            callbacks=tuple(callbacks),
            boards=boards,
            show_progress=show_progress,
            keep_last=checkpoints.keep_last,
            finish=checkpoints.finish,
            calibration=None if calibrated is None else calibration_of(calibrated.record),
            note=_note_of(derived),
        )
        _check_validation(prepared, session.split)
        _check_same_training(session)
        if checkpoints.finish:
            _check_can_finish(session)
        if is_longer and session.state is None:
            raise InputError(f"{kept.folder} has no checkpoint of the run {out}, so it cannot be trained longer.")
    _check_same_checkpoint(session)
    if not workers.is_chief:
        with lost_worker_as_input_error(workers):
            session.run()
        return None
    # A full disk is converted first, because it is no failure of another worker.
    with (
        new_folder(out, lambda folder: has_epochs(folder) or bool(kept)),
        lost_worker_as_input_error(workers),
        full_disk_as_os_error(),
    ):
        _write_run(session)
    return _without_checkpoints(RunFolder.open(out), kept)


def _note_of(derived: list[Derived]) -> str:
    said = "; ".join(f"{each.name}={each.value} ({each.reason})" for each in derived)
    return said and f"from the data: {said}"


def _check_calibrated(strict: RunFolder, config: TrainConfig, data: PreparedData) -> None:
    """Refuse the calibration of another training."""
    refit = {"refit", "refit_epochs", "calibration_share"}
    theirs, ours = strict.record["settings"], json.loads(json.dumps(config.as_dict()))
    problem = ""
    if not config.refit or config.refit_epochs is None:
        problem = "the settings have no `refit_epochs`, so this training calibrates itself"
    elif strict.record["trained_on"] != "strict":
        problem = f"{strict.folder} is a refit"
    elif strict.record["data_hash"] != data.data_hash:
        problem = f"{strict.folder} was trained on other data than {data.folder}"
    elif differing := [name for name in _differing(ours, theirs) if name not in refit]:
        problem = f"{strict.folder} has other settings: {', '.join(differing)}"
    if problem:
        raise InputError(
            f"Argument `calibrated` must be the strict run of the same training, for a refit with `refit_epochs`. "
            f"Received a run of which this is not true: {problem}."
        )


def _counted(prepared: PreparedData, config: TrainConfig, out: Path, show_progress: bool) -> RunFolder:
    started = time.perf_counter()
    _check_validation(prepared, prepared.split())
    with (
        new_folder(out, lambda _: False),
        full_disk_as_os_error(),
        spinner(f"counting {prepared.folder}", disable=not show_progress),
    ):
        model, record, counts = count_run(config, prepared)
        _write_files(out, model, record, prepared, config, counts, time.perf_counter() - started)
    return RunFolder.open(out)


def _write_run(session: TrainingSession) -> None:
    model, record = session.run()
    counts = session.item_counts(record["trained_on"])
    record |= {"can_train_longer": session.has_last}
    _write_files(session.out, model, record, session.prepared, session.config, counts, session.seconds)


def _write_files(
    out: Path,
    model: keras.Model,
    record: dict[str, Any],
    prepared: PreparedData,
    config: TrainConfig,
    counts: np.ndarray,
    seconds: float,
) -> None:
    whole = out / ".model.partial.keras"
    model.save(whole)
    whole.replace(out / "model.keras")  # a run that is trained longer stays whole until here
    for outdated in out.glob("evaluation-*.json"):
        outdated.unlink()
    prepared.vocabulary.save(out / "vocabulary.txt")
    np.save(out / "popularity.npy", counts)
    record |= {
        "format_version": FORMAT_VERSION,
        "data_folder": str(prepared.folder.resolve()),
        "data_hash": prepared.data_hash,
        "data_counts": dict(prepared.counts),
        "max_length": prepared.max_length,
        "window": prepared.window,
        "hold_out": prepared.hold_out,
        "seconds": round(seconds, 1),
        "settings": config.as_dict(),
        "every_setting": config.every_setting(prepared.max_length),
        "versions": package_versions(),
    }
    write_record(out, record)


def _without_checkpoints(finished: RunFolder | None, kept: TrainingCheckpoints) -> RunFolder | None:
    kept.remove(but_newest=finished is not None and bool(finished.record.get("can_train_longer")))
    return finished


def finished_before(out: Path, config: TrainConfig, prepared: PreparedData) -> RunFolder | None:
    """Return the finished run of the same training, if there is one and it has as many epochs.

    Args:
        out: run folder.
        config: settings.
        prepared: prepared data.

    Raises:
        InputError: `out` is the finished run of another training.
    """
    if not (out / "run.json").exists():
        return None
    finished = RunFolder.open(out)
    theirs = finished.record
    config = config_for_data(config, prepared)
    if "every_setting" in theirs:  # runs of earlier versions do not have it
        differing = _differing(config.every_setting(prepared.max_length), theirs["every_setting"])
        if "max_edited_length" not in config.model | theirs["settings"]["model"]:
            # It follows from the data, which are compared below. Earlier versions wrote 60 for all data.
            differing = [name for name in differing if name != "max_edited_length"]
    else:
        differing = _differing(json.loads(json.dumps(config.as_dict())), theirs["settings"])
    differing += ["the prepared data"] if prepared.data_hash != theirs["data_hash"] else []
    if not differing:
        return finished
    hint = ""
    if set(differing) <= set(_LONGER) and config.epochs > theirs["settings"]["epochs"]:
        decays = config.learning_rate_schedule != "constant"
        if theirs.get("can_train_longer") and not decays:
            return None
        reason = "its last checkpoint was not kept"
        if theirs["trained_on"] == "refit":
            reason = "a refit has no validation"
        elif decays:
            reason = "its learning rate decays over its epochs"
        elif theirs.get("epochs_run", 0) < theirs["settings"]["epochs"]:
            reason = f"it stopped early, after {theirs['epochs_run']} epochs"
        hint = f" It cannot be trained longer: {reason}."
    raise InputError(
        f"{out} holds the finished run of another training: {', '.join(differing)} differ.{hint} Choose another --out."
    )


def check_place(out: Path, kept: TrainingCheckpoints, resume: bool) -> None:
    """Refuse a run folder with other content, or one whose training would be lost by starting from scratch.

    Args:
        out: run folder to write.
        kept: checkpoints of the run.
        resume: whether training resumes from them.

    Raises:
        InputError: the run cannot be trained there.
    """
    if resume:
        others = {file.name for file in out.iterdir() if not _is_first_file(file)} if out.is_dir() else set()
        if others and not kept and not has_epochs(out):
            raise InputError(f"{out} holds {min(others)} and no training to resume. Choose another --out.")
        return
    if kept and not (out / RECORD_FILE).exists():  # a finished run may keep its last one
        raise InputError(f"{kept.folder} holds checkpoints of a training. Resume it with --resume, or delete them.")
    check_new_run(out)


def _is_first_file(file: Path) -> bool:
    """Whether a training that was killed in its first epoch may have left the file."""
    is_empty_log = re.fullmatch(r"epochs-\w+\.csv", file.name) is not None and not file.stat().st_size
    return is_empty_log or file.name in {"tensorboard", "checkpoints"}


def _check_validation(prepared: PreparedData, split: SplitHistories) -> None:
    """Refuse data without a validation item."""
    if not split.has_item("validation").any():
        raise InputError(
            f"No user in {prepared.folder} has a validation item, which takes three events. Prepare more events."
        )


def _check_same_training(session: TrainingSession) -> None:
    """Refuse to resume from the checkpoint of another training, and name what differs."""
    if session.state is None:
        return
    ours, theirs = session.identity(), session.state.about
    differing = _differing(ours["settings"], theirs["settings"])
    is_constant = session.config.learning_rate_schedule == "constant"
    if theirs["part"] == "strict" and is_constant and session.config.epochs > theirs["epoch"]:
        differing = [name for name in differing if name not in _LONGER]
    differing += ["the prepared data"] if ours["data_hash"] != theirs["data_hash"] else []
    differing += ["the number of workers"] if ours["workers"] != theirs["workers"] else []
    differing += ["the versions of " + " and ".join(_differing(ours["versions"], theirs["versions"]))] * (
        ours["versions"] != theirs["versions"]
    )
    if differing:
        raise InputError(
            f"The checkpoints in {session.checkpoints.folder} are of another training: {', '.join(differing)} differ. "
            "Resume with the same ones, or delete the checkpoints to train from scratch."
        )


def _check_can_finish(session: TrainingSession) -> None:
    """Refuse to finish a training that has no epoch to keep."""
    about: Mapping[str, Any] = {} if session.state is None else session.state.about
    problem = ""
    if not about:
        problem = f"{session.checkpoints.folder} has no checkpoint"
    elif about["part"] == "refit":
        problem = f"the refit of {session.out} must do all of its epochs"
    elif about["objective"] != "full" or not about["epoch"]:
        problem = f"{session.out} has not completed an epoch of its training"
    elif session.config.refit:
        problem = "the settings have a refit, which would be trained now. Leave `refit` out"
    if problem:
        raise InputError(f"Argument `finish` (--finish) ends a stopped training with its best epoch, but {problem}.")


def _check_same_checkpoint(session: TrainingSession) -> None:
    """Refuse workers that resume from different checkpoints. Each worker must call this."""
    state, workers = session.state, session.workers
    place = [] if state is None else [state.about[name] for name in ("part", "objective", "epoch", "step", "seconds")]
    digest = zlib.crc32(json.dumps(place).encode()) >> 1  # workers exchange int32 values
    with lost_worker_as_input_error(workers):
        is_same = workers.smallest(digest) == workers.largest(digest)
    if not is_same:
        raise InputError(
            f"The workers do not see the same checkpoints in {session.checkpoints.folder}. Give --checkpoints a folder "
            "that all of them can read."
        )


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    theirs = {name: value for name, value in ADDED_SETTINGS.items() if name in ours} | dict(theirs)
    return sorted(name for name, value in ours.items() if value != theirs.get(name))


@contextmanager
def full_disk_as_os_error() -> Iterator[None]:
    """Convert TensorFlow's error of a full disk, or of an exhausted quota, into an `OSError`.

    TensorFlow raises the same class of error when memory runs out. Only the system's own text distinguishes them.

    Raises:
        OSError: the disk is full. TensorFlow's other errors are not converted.

    Example:
        >>> with full_disk_as_os_error():
        ...     raise tf.errors.ResourceExhaustedError(None, None, "events.out; No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device
    """
    try:
        yield
    except tf.errors.OpError as error:
        for code in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(code) in error.message:
                raise OSError(code, os.strerror(code)) from error
        raise
