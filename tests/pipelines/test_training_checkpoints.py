"""Checkpoints on disk: whole or not there, the last few kept, damage skipped."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.training.checkpoints import CheckpointWarning, TrainingCheckpoints, TrainingState


def state(epoch: int) -> TrainingState:
    return TrainingState({"epoch": epoch}, {"table": np.arange(1000, dtype=np.float32) + epoch})


@pytest.fixture
def checkpoints(tmp_path):
    """Return a folder of three checkpoints, two of which stay."""
    folder = TrainingCheckpoints(tmp_path / "new" / "checkpoints", kept=2)
    for epoch in (1, 2, 3):
        assert folder.write(state(epoch))
    return folder


def names(checkpoints: TrainingCheckpoints) -> list[str]:
    return sorted(file.name for file in checkpoints.folder.iterdir())


def test_the_newest_comes_back_and_the_last_ones_stay(checkpoints):
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


def test_when_none_is_whole_that_is_said(checkpoints):
    for file in checkpoints.folder.iterdir():
        file.write_bytes(b"")
    with pytest.warns(CheckpointWarning), pytest.raises(InputError, match="Delete that folder to train anew"):
        checkpoints.newest()


def test_no_checkpoint_is_none(tmp_path):
    checkpoints = TrainingCheckpoints(tmp_path / "missing")
    assert checkpoints.newest() is None
    assert not checkpoints


def test_a_full_disk_is_told_and_leaves_the_last_good_one(checkpoints, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("laclrec_tf.training.checkpoints.os.fsync", full)
    with pytest.warns(CheckpointWarning, match="No space left on device.*The last good one: .*000003.npz"):
        assert not checkpoints.write(state(4))
    assert names(checkpoints) == ["checkpoint-000002.npz", "checkpoint-000003.npz"]
    monkeypatch.undo()
    assert checkpoints.write(state(5))
    assert checkpoints.newest().about == {"epoch": 5}


def test_a_killed_writers_rest_is_no_checkpoint(checkpoints):
    (checkpoints.folder / "checkpoint-000004.partial").write_bytes(b"half")
    assert checkpoints.newest().about == {"epoch": 3}
    checkpoints.remove()
    assert not checkpoints.folder.exists()


def test_what_others_put_there_stays(checkpoints):
    own: Path = checkpoints.folder / "notes.txt"
    own.write_text("mine")
    checkpoints.remove()
    assert names(checkpoints) == ["notes.txt"]


def test_an_archive_whose_directory_hides_an_array_is_damaged(checkpoints):
    """Not every damage breaks a check sum: what names the arrays has none."""
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
