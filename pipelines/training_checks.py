"""What is looked at before a training begins or goes on."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import RunFolder, check_new_run, has_epochs
from pipelines.config import TrainConfig
from pipelines.training_checkpoints import TrainingCheckpoints
from pipelines.training_session import TrainingSession
from pipelines.worker_agreement import lost_workers_named


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
