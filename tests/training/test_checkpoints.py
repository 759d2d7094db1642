"""Checkpoints: when one is written, and damaged ones. Trainings that resume: test_resume.py, test_worker_resume.py."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.processes import StopRequest
from laclrec_tf.training.checkpoints import (
    AGREED_STEPS,
    CheckpointCallback,
    CheckpointSettings,
    CheckpointTimer,
    CheckpointWarning,
    TrainingCheckpoints,
    TrainingState,
)
from laclrec_tf.training.workers import WorkerGroup


def test_the_default_folder_is_in_the_run(tmp_path):
    assert CheckpointSettings().folder_for(tmp_path) == tmp_path / "checkpoints"
    assert CheckpointSettings(folder=tmp_path / "other").folder_for(tmp_path) == tmp_path / "other"


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"minutes": -1.0}, "`minutes` must be 0 or above"),
        ({"minutes": float("nan")}, "`minutes` must be 0 or above"),
        ({"kept": 0}, "`kept` must be at least 1"),
    ],
)
def test_invalid_settings_are_refused(given, match):
    with pytest.raises(InputError, match=match):
        CheckpointSettings(**given)


def test_a_file_as_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt is a file"):
        CheckpointSettings(folder=tmp_path / "notes.txt")


def test_a_checkpoint_is_due_after_its_minutes():
    now = 100.0
    timer = CheckpointTimer(2, clock=lambda: now)
    assert not timer.is_due
    now = 219.0
    assert not timer.is_due
    now = 220.0
    assert timer.is_due
    timer.restart()
    assert not timer.is_due


def state(epoch: int) -> TrainingState:
    return TrainingState({"epoch": epoch}, {"table": np.arange(1000, dtype=np.float32) + epoch})


@pytest.fixture
def checkpoints(tmp_path):
    """Return a folder in which three checkpoints were written, two of which are kept."""
    folder = TrainingCheckpoints(tmp_path / "new" / "checkpoints", kept=2)
    for epoch in (1, 2, 3):
        assert folder.write(state(epoch))
    return folder


def names(checkpoints: TrainingCheckpoints) -> list[str]:
    return sorted(file.name for file in checkpoints.folder.iterdir())


def test_the_newest_is_read_and_the_last_ones_are_kept(checkpoints):
    newest = checkpoints.newest()
    assert newest.about == {"epoch": 3}
    np.testing.assert_array_equal(newest.arrays["table"], state(3).arrays["table"])
    assert names(checkpoints) == ["checkpoint-000002.npz", "checkpoint-000003.npz"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_newest_one_is_skipped_with_a_warning(checkpoints, damage):
    file = checkpoints.folder / "checkpoint-000003.npz"
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    file.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "emptied": b""}[damage])
    with pytest.warns(CheckpointWarning, match="checkpoint-000003.npz is damaged"):
        assert checkpoints.newest().about == {"epoch": 2}


def test_only_damaged_checkpoints_are_an_error(checkpoints):
    for file in checkpoints.folder.iterdir():
        file.write_bytes(b"")
    with pytest.warns(CheckpointWarning), pytest.raises(InputError, match="Delete that folder to train from scratch"):
        checkpoints.newest()


def test_no_checkpoint_is_none(tmp_path):
    checkpoints = TrainingCheckpoints(tmp_path / "missing")
    assert checkpoints.newest() is None
    assert not checkpoints


def test_a_full_disk_warns_and_keeps_the_last_good_checkpoint(checkpoints, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(CheckpointWarning, match="No space left on device.*The last good checkpoint: .*000003.npz"):
        assert not checkpoints.write(state(4))
    assert names(checkpoints) == ["checkpoint-000002.npz", "checkpoint-000003.npz"]
    monkeypatch.undo()
    assert checkpoints.write(state(5))
    assert checkpoints.newest().about == {"epoch": 5}


def test_a_partial_file_of_a_killed_process_is_no_checkpoint(checkpoints):
    (checkpoints.folder / ".checkpoint-000004.npz.partial-0").write_bytes(b"half")
    assert checkpoints.newest().about == {"epoch": 3}
    checkpoints.remove()
    assert not checkpoints.folder.exists()


def test_other_files_are_kept(checkpoints):
    own: Path = checkpoints.folder / "notes.txt"
    own.write_text("mine")
    checkpoints.remove()
    assert names(checkpoints) == ["notes.txt"]


def test_an_archive_whose_directory_lacks_an_array_is_damaged(checkpoints):
    """The archive's directory, which names the arrays, has no checksum."""
    file = checkpoints.folder / "checkpoint-000003.npz"
    content = bytearray(file.read_bytes())
    directory = content.rindex(b"PK\x01\x02")  # of the last array
    end = content.rindex(b"PK\x05\x06")
    del content[directory:end]
    end = directory
    content[end + 8 : end + 10] = content[end + 10 : end + 12] = (1).to_bytes(2, "little")
    first = content.index(b"PK\x01\x02")
    content[end + 12 : end + 16] = (end - first).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.warns(CheckpointWarning, match="an array is missing"):
        assert checkpoints.newest().about == {"epoch": 2}


@pytest.mark.parametrize("flag", [0x01, 0x20])
def test_an_archive_that_seems_encrypted_or_patched_is_damaged(checkpoints, flag):
    file = checkpoints.folder / "checkpoint-000003.npz"
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + place] |= flag
    file.write_bytes(content)
    with pytest.warns(CheckpointWarning, match="checkpoint-000003.npz is damaged"):
        assert checkpoints.newest().about == {"epoch": 2}


@dataclass(frozen=True)
class OneOfTwo(WorkerGroup):
    """One of two workers, with given values of the other one."""

    count: int = 2
    others: tuple[int, ...] = ()  # one value for each exchange

    def largest(self, value: int) -> int:
        self.exchanged.append(value)
        other = self.others[len(self.exchanged) - 1] if len(self.exchanged) <= len(self.others) else 0
        return max(value, other)

    def __post_init__(self) -> None:
        object.__setattr__(self, "exchanged", [])


def steps_taken(folder, workers: WorkerGroup, minutes: float = 60, stop_at: int | None = None):
    """Run two epochs of 25 steps; return the number of steps and the positions in the checkpoints."""
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


def test_nothing_is_written_before_it_is_due(tmp_path):
    assert steps_taken(tmp_path, WorkerGroup()) == (50, [])


@pytest.mark.parametrize("index", [0, 1])
def test_all_stop_when_another_worker_must(tmp_path, index):
    # They exchange at the start of the epoch and after 10 steps; the other worker receives SIGTERM in between.
    taken, written = steps_taken(tmp_path, OneOfTwo(index=index, others=(0, 2)))
    assert (taken, written[0]) == (AGREED_STEPS, "stopped")
    # Only the chief writes.
    assert written[1:] == ([(0, 10, 10.0)] if index == 0 else [])


def test_an_own_stop_waits_for_the_next_exchange(tmp_path):
    assert steps_taken(tmp_path, OneOfTwo(), stop_at=3) == (10, ["stopped", (0, 10, 10.0)])


def test_all_read_their_state_if_a_checkpoint_is_due_for_one(tmp_path):
    """The timers of two machines do not agree to the second."""
    workers = OneOfTwo(others=(0, 1))
    assert steps_taken(tmp_path, workers) == (50, [(0, 10, 10.0)])
    assert len(workers.exchanged) == 6  # before each epoch and twice in it
