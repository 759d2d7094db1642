"""Settings of the checkpoints."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.training.checkpoints import CheckpointSettings


def test_they_lie_in_the_run_unless_told(tmp_path):
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
def test_what_makes_no_sense_is_refused(given, match):
    with pytest.raises(InputError, match=match):
        CheckpointSettings(**given)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes.txt is a file"):
        CheckpointSettings(folder=tmp_path / "notes.txt")
