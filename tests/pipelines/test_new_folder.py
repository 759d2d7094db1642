"""A folder that is made for a result: what was there before stays, what is new goes when there is no result."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.output_files import new_folder


def fail(folder, worth_keeping, error=KeyboardInterrupt):
    with pytest.raises((error, InputError)), new_folder(folder, lambda _: worth_keeping):
        (folder / "log.txt").write_text("begun")
        (folder / "parts").mkdir()
        (folder / "parts/1").write_text("one")
        raise error


def test_a_result_stays_and_a_failure_leaves_nothing(tmp_path):
    with new_folder(tmp_path / "a/b", lambda _: False):
        (tmp_path / "a/b/log.txt").write_text("done")
    assert (tmp_path / "a/b/log.txt").read_text() == "done"
    fail(tmp_path / "c/d", worth_keeping=False)
    assert not (tmp_path / "c").exists()
    fail(tmp_path / "e", worth_keeping=True)
    assert (tmp_path / "e/parts/1").exists()


def test_what_was_there_before_is_not_taken_away(tmp_path):
    (tmp_path / "photo.txt").write_text("mine")
    (tmp_path / "album").mkdir()
    fail(tmp_path, worth_keeping=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["album", "photo.txt"]


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match="Cannot write .*file.*Choose a folder that can be written"),
        new_folder(tmp_path / "file/run", lambda _: False),
    ):
        pass
    with (
        pytest.raises(InputError, match="What was done so far is in"),
        new_folder(tmp_path / "run", lambda _: True),
    ):
        raise OSError(28, "No space left on device")
