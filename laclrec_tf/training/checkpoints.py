"""Checkpoints of a training's whole state, from which it resumes in the middle of an epoch."""

from __future__ import annotations

import json
import math
import re
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError, LACLRecWarning
from laclrec_tf.ops.finite import nonfinite_weight
from laclrec_tf.runtime.output_files import atomic_write, delete_partial_files
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.training.workers import WorkerGroup

FORMAT_VERSION = 6
KEPT = 2
MINUTES = 10.0
# Every so many steps, the workers exchange whether one of them must stop: often enough for the half minute between
# SIGTERM and the end of a spot machine, and too seldom to cost anything.
AGREED_STEPS = 10
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
_NAME = re.compile(r"checkpoint-(\d{6,})\.npz")
_ABOUT = "about"
_STOP = 2
_SAVED_ATTRIBUTES = {
    keras.callbacks.EarlyStopping: ("best", "wait", "stopped_epoch", "best_epoch"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


@dataclass(frozen=True)
class CheckpointSettings:
    """How often checkpoints are written, where, and how many are kept.

    Args:
        minutes: minutes between two checkpoints; 0 writes one after every step. Default: 10.
        kept: number of checkpoints to keep. Default: 2.
        folder: folder of the checkpoints. Default: None, `checkpoints` in the run folder.
        resume: whether to resume from the newest checkpoint, if there is one. Default: False.
        finish: whether to resume, but train no further: the run gets the best epoch so far. Default: False.
        keep_last: whether a training that does all of its epochs keeps its last checkpoint, so that it can be given
            more epochs. Default: True.

    Raises:
        InputError: `minutes` is below 0, `kept` below 1, or `folder` is a file.

    Example:
        >>> CheckpointSettings(minutes=5).folder_for(Path("run")).as_posix()
        'run/checkpoints'
    """

    minutes: float = MINUTES
    kept: int = KEPT
    folder: Path | None = None
    resume: bool = False
    finish: bool = False
    keep_last: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minutes) and self.minutes >= 0):
            raise InputError(f"Argument `minutes` must be 0 or above. Received: {self.minutes}.")
        if self.kept < 1:
            raise InputError(f"Argument `kept` must be at least 1 checkpoint. Received: {self.kept}.")
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"Checkpoints need a folder, but {self.folder} is a file. Choose another place.")

    def folder_for(self, run: Path) -> Path:
        """Return the folder of a run's checkpoints."""
        return self.folder or run / "checkpoints"


class CheckpointCallback(keras.callbacks.Callback):
    """Write checkpoints every few minutes and on SIGTERM or SIGINT, and restore the one that the training resumes from.

    Place this callback last, because it overwrites what the other callbacks set at the start of training. The batches
    must come from `training_dataset(..., position=...)`, and `fit(initial_epoch=...)` must start at the state's epoch.

    Args:
        checkpoints: folder that the chief writes to.
        position: variable from which the batches read their position at the start of an epoch.
        steps: batches an epoch.
        about: function that returns the other content of a checkpoint, such as the settings.
        others: the training's other callbacks.
        timer: says when a checkpoint is due.
        stop: notes SIGTERM and SIGINT.
        workers: processes that train together. All read their state at the same step, because some of it is summed
            over the workers.
        state: checkpoint to resume from. Default: None, start from scratch.
        keep_last: whether to write a checkpoint after the last epoch, unless training stopped early, so that the
            training can be given more epochs. Place `reader_of_last` before all other callbacks then. Default: False.

    Raises:
        KeyboardInterrupt: this worker or another received SIGTERM or SIGINT, and the state is on disk.
    """

    def __init__(
        self,
        checkpoints: TrainingCheckpoints,
        position: tf.Variable,
        steps: int,
        about: Callable[[], Mapping[str, Any]],
        others: list[keras.callbacks.Callback],
        *,
        timer: CheckpointTimer,
        stop: StopRequest,
        workers: WorkerGroup,
        state: TrainingState | None = None,
        keep_last: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.position = position
        self.steps = steps
        self.about = about
        self.others = others
        self.timer = timer
        self.stop = stop
        self.workers = workers
        self.state = state
        self.keep_last = keep_last
        self.has_last = False
        # Averaging overwrites the weights of the last step at the end of the last epoch.
        self.reader_of_last = keras.callbacks.LambdaCallback(on_epoch_end=self._read_last)
        self._last: dict[str, np.ndarray] | None = None
        self._epoch = 0
        self._before = 0  # steps of this epoch that an earlier process did

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the checkpoint where no epoch is left: the last process was stopped after its last epoch."""
        if self.state is not None and self.state.about["epoch"] >= self.params["epochs"]:
            self._restore(self.state)
            self.has_last = bool(self.state.about.get("finished"))
            self.state = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore the checkpoint, and set the position at which the batches start."""
        self._epoch, self._before = epoch, 0
        if self.state is not None:
            self._restore(self.state)
            self._before = int(self.state.about["step"])
            self.state = None
        else:
            self._write_if_due(step=0)
        self.position.assign([epoch, self._before])

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """End a resumed epoch after its last batch, as its iterator would.

        A request to the exhausted iterator would still run the part of a step that needs no batch, and so advance the
        random generators.
        """
        if self._before + batch >= self.steps:
            raise StopIteration

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a checkpoint if one is due; after an epoch's last batch, the next epoch does so."""
        step = self._before + batch + 1
        if step < self.steps and (self.workers.is_alone or step % AGREED_STEPS == 0):
            self._write_if_due(step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the state after the last epoch, unless training stopped early: then more epochs would not help."""
        if self._last is not None and not self.model.stop_training and self.workers.is_chief:
            self._epoch += 1
            state = self._state(0, self._last)
            self.has_last = self.checkpoints.write(TrainingState({**state.about, "finished": True}, state.arrays))

    def _read_last(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.keep_last and epoch + 1 == self.params["epochs"]:
            self._last = self._values()

    def _write_if_due(self, step: int) -> None:
        reason = self.workers.largest(_STOP if self.stop.received else int(self.timer.is_due))
        if not reason:
            return
        state = self._state(step)
        # Resuming from a broken state would be useless, and it would replace a whole one.
        if self.workers.is_chief and nonfinite_weight(self.model.weights) is None:
            self.checkpoints.write(state)
        self.timer.restart()
        if reason == _STOP:
            raise KeyboardInterrupt

    def _values(self) -> dict[str, np.ndarray]:
        return {f"variable-{i}": np.array(variable) for i, variable in enumerate(_variables(self.model))}

    def _state(self, step: int, values: dict[str, np.ndarray] | None = None) -> TrainingState:
        arrays = self._values() if values is None else dict(values)
        about: dict[str, Any] = {**self.about(), "epoch": self._epoch, "step": step}
        about["history"] = _plain(self.model.history.history)
        for kind, callback in self._stateful_callbacks():
            about[kind.__name__] = _plain({name: getattr(callback, name) for name in _SAVED_ATTRIBUTES[kind]})
            best = getattr(callback, "best_weights", None)
            arrays |= {f"best-{i}": values for i, values in enumerate(best or [])}
        return TrainingState(about, arrays)

    def _restore(self, state: TrainingState) -> None:
        for i, variable in enumerate(_variables(self.model)):
            variable.assign(state.arrays[f"variable-{i}"])
        self.model.history.history = {name: list(values) for name, values in state.about["history"].items()}
        self.model.history.epoch = list(range(state.about["epoch"]))
        for kind, callback in self._stateful_callbacks():
            for name, value in state.about[kind.__name__].items():
                setattr(callback, name, value)
            if kind is keras.callbacks.EarlyStopping:
                n_best = sum(name.startswith("best-") for name in state.arrays)
                callback.best_weights = [state.arrays[f"best-{i}"] for i in range(n_best)] or None

    def _stateful_callbacks(self) -> list[tuple[type, keras.callbacks.Callback]]:
        return [(kind, each) for each in self.others for kind in _SAVED_ATTRIBUTES if isinstance(each, kind)]


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights, states of random generators, the optimizer's variables and the running means, each once."""
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    variables = [*model.variables, *model.optimizer.variables, *metrics]
    return list({id(variable): variable for variable in variables}.values())


def _plain(value: Any) -> Any:
    """Convert numbers, lists and dicts to JSON's types, without loss of digits."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


class CheckpointTimer:
    """Measure the time since the last checkpoint, over all parts of a training.

    Args:
        minutes: minutes between two checkpoints; with 0 one is always due.
        clock: function that returns seconds. Default: `time.monotonic`.

    Example:
        >>> CheckpointTimer(0).is_due, CheckpointTimer(10).is_due
        (True, False)
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.minutes = minutes
        self.clock = clock
        self.restart()

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint is due."""
        return self.clock() - self._since >= 60 * self.minutes

    def restart(self) -> None:
        """Measure from now."""
        self._since = self.clock()


class TrainingCheckpoints:
    """A folder of checkpoints, `checkpoint-000001.npz` and so on, each with a CRC-32 of every array.

    Args:
        folder: the folder, which is created with the first checkpoint. On Vertex AI it may be `/gcs/BUCKET/...`.
        kept: number of checkpoints to keep, at least 1. Default: 2.

    Example:
        >>> checkpoints = TrainingCheckpoints(Path("run/checkpoints"))  # doctest: +SKIP
        >>> checkpoints.write(TrainingState({"epoch": 3}, {"table": np.zeros(2)}))  # doctest: +SKIP
        True
        >>> checkpoints.newest().about["epoch"]  # doctest: +SKIP
        3
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self.kept = kept

    def write(self, state: TrainingState) -> bool:
        """Write a checkpoint, and delete the oldest ones.

        A process that is killed while it writes leaves the other checkpoints whole.

        Args:
            state: content of the checkpoint.

        Returns:
            Whether the checkpoint was written. If not, a warning says why, and the earlier ones are kept.
        """
        number = max(self._numbers(), default=0) + 1
        file = self._file(number)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            delete_partial_files(self.folder, "checkpoint-*.npz")
            with atomic_write(file) as partial, partial.open("wb") as out:
                shapes = {name: list(array.shape) for name, array in state.arrays.items()}
                about = json.dumps({**state.about, "format_version": FORMAT_VERSION, "shapes": shapes}).encode()
                np.savez(out, allow_pickle=False, **{_ABOUT: np.frombuffer(about, np.uint8)}, **state.arrays)
        except OSError as error:
            warnings.warn(
                f"Cannot write the checkpoint {file}: {error.strerror or error}. Training continues; free some space. "
                f"The last good checkpoint: {self._file(number - 1) if number > 1 else 'none'}.",
                CheckpointWarning,
                stacklevel=2,
            )
            return False
        for old in sorted(self._numbers())[: -self.kept]:
            with suppress(OSError):
                self._file(old).unlink()
        return True

    def newest(self) -> TrainingState | None:
        """Read the newest checkpoint that is whole.

        Returns:
            The state, or None if there is no checkpoint. A damaged one is skipped with a warning.

        Raises:
            InputError: all checkpoints are damaged.
        """
        numbers = sorted(self._numbers(), reverse=True)
        for number in numbers:
            try:
                return _read(self._file(number))
            except DAMAGE as error:
                warnings.warn(
                    f"The checkpoint {self._file(number)} is damaged ({' '.join(str(error).split())}) and is skipped.",
                    CheckpointWarning,
                    stacklevel=2,
                )
        if numbers:
            raise InputError(f"No checkpoint in {self.folder} is whole. Delete that folder to train from scratch.")
        return None

    def remove(self, but_newest: bool = False) -> None:
        """Delete all checkpoints, or all but the newest, and the folder if it is then empty."""
        delete_partial_files(self.folder, "checkpoint-*.npz")
        for number in sorted(self._numbers())[: -1 if but_newest else None]:
            self._file(number).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def __bool__(self) -> bool:
        """Whether there is a checkpoint, whole or damaged."""
        return bool(self._numbers())

    def _numbers(self) -> list[int]:
        names = [_NAME.fullmatch(file.name) for file in self.folder.glob("checkpoint-*.npz")]
        return [int(name.group(1)) for name in names if name]

    def _file(self, number: int) -> Path:
        return self.folder / f"checkpoint-{number:06d}.npz"


def _read(file: Path) -> TrainingState:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}  # reading verifies the checksums
    about = json.loads(arrays.pop(_ABOUT).tobytes())
    if about.pop("format_version") != FORMAT_VERSION:
        raise ValueError(f"its format version is not {FORMAT_VERSION}")
    if about.pop("shapes") != {name: list(array.shape) for name, array in arrays.items()}:
        raise ValueError("an array is missing")  # the archive's directory is damaged
    return TrainingState(about, arrays)


@dataclass(frozen=True)
class TrainingState:
    """Everything that a training needs to resume as if it had never stopped.

    Args:
        about: values of JSON's types: the progress of the training and the state of its callbacks.
        arrays: values of every variable, by any name but "about".
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class CheckpointWarning(LACLRecWarning):
    """A checkpoint could not be written, or is damaged and an older one is used."""
