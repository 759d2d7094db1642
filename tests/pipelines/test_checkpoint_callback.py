"""When a checkpoint is written and training ends. Whole trainings that go on: test_resume.py, test_worker_resume.py."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import pytest
import tensorflow as tf

from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.training.checkpoints import AGREED_STEPS, CheckpointCallback, CheckpointTimer, TrainingCheckpoints
from laclrec_tf.training.workers import WorkerGroup


@dataclass(frozen=True)
class BesideAnother(WorkerGroup):
    """A worker whose only other one says what the test wants it to."""

    count: int = 2
    others: tuple[int, ...] = ()  # at each question

    def largest(self, value: int) -> int:
        self.asked.append(value)
        other = self.others[len(self.asked) - 1] if len(self.asked) <= len(self.others) else 0
        return max(value, other)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", [])


def steps_taken(folder, workers: WorkerGroup, minutes: float = 60, stop_at: int | None = None):
    """Take two epochs of 25 steps; return how many were taken and where checkpoints say they stand."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    stop, taken, written = StopRequest(), 0, []
    checkpoints = TrainingCheckpoints(folder)
    callback = CheckpointCallback(
        checkpoints,
        tf.Variable([0, 0], dtype=tf.int64),
        25,
        lambda: {"seconds": float(taken)},
        [],
        timer=CheckpointTimer(minutes),
        stop=stop,
        workers=workers,
    )
    callback.set_model(model)
    model.history = keras.callbacks.History()
    model.history.history = {}
    try:
        for epoch in range(2):
            callback.on_epoch_begin(epoch)
            for step in range(25):
                callback.on_train_batch_begin(step)
                taken += 1
                stop.received = stop.received or taken == stop_at
                callback.on_train_batch_end(step)
    except KeyboardInterrupt:
        written.append("stopped")
    newest = checkpoints.newest()
    if newest is not None:
        written.append((newest.about["epoch"], newest.about["step"], newest.about["seconds"]))
    return taken, written


def test_alone_it_stops_at_once(tmp_path):
    assert steps_taken(tmp_path, WorkerGroup(), stop_at=7) == (7, ["stopped", (0, 7, 7.0)])


def test_a_stop_in_an_epochs_last_step_waits_for_the_next_epoch(tmp_path):
    assert steps_taken(tmp_path, WorkerGroup(), stop_at=25) == (25, ["stopped", (1, 0, 25.0)])


def test_with_time_left_and_nobody_stopping_nothing_is_written(tmp_path):
    assert steps_taken(tmp_path, WorkerGroup()) == (50, [])


@pytest.mark.parametrize("index", [0, 1])
def test_all_stop_when_another_worker_must(tmp_path, index):
    # Asked at the start of the epoch and after 10 steps; the other one's SIGTERM has come in between.
    taken, written = steps_taken(tmp_path, BesideAnother(index=index, others=(0, 2)))
    assert (taken, written[0]) == (AGREED_STEPS, "stopped")
    # The chief alone writes.
    assert written[1:] == ([(0, 10, 10.0)] if index == 0 else [])


def test_ones_own_stop_waits_until_all_are_asked(tmp_path):
    assert steps_taken(tmp_path, BesideAnother(), stop_at=3) == (10, ["stopped", (0, 10, 10.0)])


def test_all_read_their_state_when_it_is_due_for_one(tmp_path):
    """The timers of two machines do not agree to the second."""
    workers = BesideAnother(others=(0, 1))
    assert steps_taken(tmp_path, workers) == (50, [(0, 10, 10.0)])
    assert len(workers.asked) == 6  # before each epoch and twice in it
