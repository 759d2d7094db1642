"""A callback that keeps a training's whole state on disk, and goes on from it in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.runtime.processes import StopRequest
from pipelines.checkpoint_timer import CheckpointTimer
from pipelines.training_checkpoints import TrainingCheckpoints, TrainingState
from pipelines.worker_group import WorkerGroup

# Several workers ask each other after so many steps whether one of them must stop: often enough for the half minute
# that a spot machine has, and too seldom to cost anything.
AGREED_STEPS = 10

_STOP = 2
_REMEMBERED = {
    keras.callbacks.EarlyStopping: ("best", "wait", "stopped_epoch", "best_epoch"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


class CheckpointCallback(keras.callbacks.Callback):
    """Writes checkpoints every few minutes and on SIGTERM, and restores the one that training goes on from.

    Put it last: it takes over from what the other callbacks do when training begins. The batches must come from
    `training_dataset(..., position=...)`, and `fit(initial_epoch=...)` begin at the state's epoch.

    Args:
        checkpoints: where the chief writes to.
        position: what the batches read when an epoch begins.
        steps: batches an epoch.
        about: returns what else a checkpoint tells, such as the settings.
        others: the training's other callbacks.
        timer: when a checkpoint is due.
        stop: whether SIGTERM has come.
        workers: who trains: all read their state at the same step, since some of it is summed over them.
        state: go on from here. Default: None, from the start.

    Raises:
        KeyboardInterrupt: SIGTERM has come, here or at another worker, and the state is on disk.
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
        self._epoch = 0
        self._before = 0  # steps of this epoch that were done before this process

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore what was kept, and tell the batches where they begin."""
        self._epoch, self._before = epoch, 0
        if self.state is not None:
            self._restore(self.state)
            self._before = int(self.state.about["step"])
            self.state = None
        else:
            self._write_if_due(step=0)
        self.position.assign([epoch, self._before])

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """End the epoch that training went on in after its last batch, as an iterator would.

        Asking the exhausted iterator once more would run what of a step needs no batch: the random generators.
        """
        if self._before + batch >= self.steps:
            raise StopIteration

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a checkpoint if it is time for one; that of an epoch's last batch waits for the next epoch."""
        step = self._before + batch + 1
        if step < self.steps and (self.workers.is_alone or step % AGREED_STEPS == 0):
            self._write_if_due(step)

    def _write_if_due(self, step: int) -> None:
        wanted = self.workers.largest(_STOP if self.stop.received else int(self.timer.is_due))
        if not wanted:
            return
        state = self._state(step)
        if self.workers.is_chief:
            self.checkpoints.write(state)
        self.timer.restart()
        if wanted == _STOP:
            raise KeyboardInterrupt

    def _state(self, step: int) -> TrainingState:
        arrays = {f"variable-{i}": np.asarray(variable) for i, variable in enumerate(_variables(self.model))}
        about: dict[str, Any] = {**self.about(), "epoch": self._epoch, "step": step}
        about["history"] = _plain(self.model.history.history)
        for kind, callback in self._with_memory():
            about[kind.__name__] = _plain({name: getattr(callback, name) for name in _REMEMBERED[kind]})
            best = getattr(callback, "best_weights", None)
            arrays |= {f"best-{i}": values for i, values in enumerate(best or [])}
        return TrainingState(about, arrays)

    def _restore(self, state: TrainingState) -> None:
        for i, variable in enumerate(_variables(self.model)):
            variable.assign(state.arrays[f"variable-{i}"])
        self.model.history.history = {name: list(values) for name, values in state.about["history"].items()}
        self.model.history.epoch = list(range(state.about["epoch"]))
        for kind, callback in self._with_memory():
            for name, value in state.about[kind.__name__].items():
                setattr(callback, name, value)
            if kind is keras.callbacks.EarlyStopping:
                n_best = sum(name.startswith("best-") for name in state.arrays)
                callback.best_weights = [state.arrays[f"best-{i}"] for i in range(n_best)] or None

    def _with_memory(self) -> list[tuple[type, keras.callbacks.Callback]]:
        return [(kind, each) for each in self.others for kind in _REMEMBERED if isinstance(each, kind)]


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights, states of random generators, the optimizer's variables and the running averages, each once."""
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    variables = [*model.variables, *model.optimizer.variables, *metrics]
    return list({id(variable): variable for variable in variables}.values())


def _plain(value: Any) -> Any:
    """Return numbers, lists and dicts as JSON holds them, every digit kept."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value
