"""A report's file is tried out before the work, and leaves no trace of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.output_files import ReportFile


def test_a_file_that_can_be_written_appears_when_it_is(tmp_path):
    report = ReportFile(tmp_path / "report.json")
    assert not list(tmp_path.iterdir())
    report.write_json({"users": 3})
    assert json.loads((tmp_path / "report.json").read_text()) == {"users": 3}


def test_a_file_that_is_there_stays_as_it_is_until_it_is_replaced(tmp_path):
    (tmp_path / "report.json").write_text("old")
    report = ReportFile(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == "old"
    report.write(b"new")
    assert (tmp_path / "report.json").read_text() == "new"


def test_a_link_to_a_file_that_is_not_there_yet_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    ReportFile(tmp_path / "link").write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere/report.json", "its folder does not exist"),
        (".", "Is a directory"),
        ("file/report.json", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(tmp_path, name: str, reason: str):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"Cannot write .*: {reason}. Name a file that can be written."):
        ReportFile(tmp_path / name)


def test_what_cannot_be_written_in_the_end_is_said_too(tmp_path):
    (tmp_path / "folder").mkdir()
    report = ReportFile(tmp_path / "folder/report.json")
    (tmp_path / "folder").rmdir()
    with pytest.raises(InputError, match="its folder does not exist"):
        report.write_json({})


def test_a_full_disk_leaves_the_old_report_and_nothing_half_written(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")
    report = ReportFile(tmp_path / "report.html")

    def full(file: Path, content: bytes) -> None:
        with file.open("wb") as out:
            out.write(content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        report.write(b"new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"report.html": "old"}


def test_what_is_no_file_takes_the_report_as_it_comes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    ReportFile(tmp_path / "pipe").write(b"new")
    assert os.read(reader, 9) == b"new"
    os.close(reader)
