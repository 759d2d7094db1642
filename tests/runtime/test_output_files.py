"""Files are written whole or not at all, one process at a time."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.output_files import (
    ReportFile,
    append_line,
    atomic_write,
    copy_whole,
    delete_partial_files,
    file_lock,
    new_folder,
)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    (tmp_path / "file").write_text("old")
    with pytest.raises(error), atomic_write(tmp_path / "file") as partial:
        partial.write_text("half")
        assert (tmp_path / "file").read_text() == "old"
        raise error
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file": "old"}


def test_the_content_is_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), sync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    with atomic_write(tmp_path / "file") as partial:
        partial.write_text("new")
    assert calls == ["fsync", "rename"]
    assert (tmp_path / "file").read_text() == "new"


def test_permissions_are_kept(tmp_path):
    (tmp_path / "file").touch()
    for mode in (0o600, 0o664):
        (tmp_path / "file").chmod(mode)
        with atomic_write(tmp_path / "file") as partial:
            partial.touch()
        assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_partial_files_of_killed_processes_are_deleted(tmp_path):
    for name in (".a.npz.partial-1", ".b.npz.partial-2", ".c.csv.partial-3", "a.npz"):
        (tmp_path / name).touch()
    delete_partial_files(tmp_path, "*.npz")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".c.csv.partial-3", "a.npz"]


def test_one_process_holds_a_lock(tmp_path):
    (tmp_path / "lock").write_text("content")
    with file_lock(tmp_path / "lock", busy="Wait."):
        for _ in range(2):  # a refused request does not release it
            with pytest.raises(InputError, match="^Wait.$"), file_lock(tmp_path / "lock", busy="Wait."):
                pass
    with file_lock(tmp_path / "lock", busy="Wait."):
        assert (tmp_path / "lock").read_text() == "content"


@pytest.mark.parametrize("has_target", [False, True])
def test_locks_and_records_follow_no_link(tmp_path, has_target):
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    if has_target:
        target.write_text("another's")
    refused = "link is a symbolic link, which is not followed. Delete the link, then try again.$"
    with pytest.raises(InputError, match=refused), file_lock(link, busy="Wait."):
        pass
    with pytest.raises(InputError, match=refused):
        append_line(link, "pushed 1")
    assert target.exists() is has_target
    assert not has_target or target.read_text() == "another's"


def test_a_record_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # nobody reads it: opening it must not wait
    with pytest.raises(InputError, match="pipe is not a regular file. Delete it"):
        append_line(tmp_path / "pipe", "pushed 1")
    with pytest.raises(IsADirectoryError):
        append_line(tmp_path, "pushed 1")


def test_lines_are_appended_and_a_cut_one_is_ended(tmp_path):
    append_line(tmp_path / "record", "pushed größe 1")
    with (tmp_path / "record").open("a") as file:
        file.write("pushed 2, cut sh")
    append_line(tmp_path / "record", "pushed 3")
    assert (tmp_path / "record").read_text() == "pushed größe 1\npushed 2, cut sh\npushed 3\n"


def test_a_report_is_refused_at_once_where_no_partial_file_can_be_written(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        ReportFile(tmp_path / ("x" * 250))  # the name itself is short enough


def fail(folder, worth_keeping, error=KeyboardInterrupt):
    with pytest.raises((error, InputError)), new_folder(folder, lambda _: worth_keeping):
        (folder / "log.txt").write_text("started")
        (folder / "parts").mkdir()
        (folder / "parts/1").write_text("one")
        raise error


def test_a_new_folder_is_kept_on_success_and_deleted_on_failure(tmp_path):
    with new_folder(tmp_path / "a/b", lambda _: False):
        (tmp_path / "a/b/log.txt").write_text("done")
    assert (tmp_path / "a/b/log.txt").read_text() == "done"
    fail(tmp_path / "c/d", worth_keeping=False)
    assert not (tmp_path / "c").exists()
    fail(tmp_path / "e", worth_keeping=True)
    assert (tmp_path / "e/parts/1").exists()


def test_earlier_content_of_a_folder_is_never_deleted(tmp_path):
    (tmp_path / "photo.txt").write_text("mine")
    (tmp_path / "album").mkdir()
    fail(tmp_path, worth_keeping=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["album", "photo.txt"]


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match="Cannot write .*file.*Choose a folder that can be written"),
        new_folder(tmp_path / "file/run", lambda _: False),
    ):
        pass
    with (
        pytest.raises(InputError, match="The results so far are in"),
        new_folder(tmp_path / "run", lambda _: True),
    ):
        raise OSError(28, "No space left on device")


def test_the_file_that_marks_a_folder_complete_is_copied_last(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    for name in ("run.json", "a", "z", "deep/run.json"):
        (folder / name).write_text(name)
    order = []
    real = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda a, b, **more: (order.append(str(a)), real(a, b, **more))[1])
    to = copy_whole(folder, tmp_path / "there/run", last="run.json")
    assert sorted(path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()) == [
        *("a", "deep/run.json", "run.json", "z")
    ]
    assert len(order) == 4
    assert order[-1] == str(folder / "run.json")


def test_a_destination_that_cannot_be_written(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write .*Check the disk or the bucket"):
        copy_whole(tmp_path / "run", tmp_path / "file/run", last="run.json")


def test_a_report_file_appears_when_it_is_written(tmp_path):
    report = ReportFile(tmp_path / "report.json")
    assert not list(tmp_path.iterdir())
    report.write_json({"users": 3})
    assert json.loads((tmp_path / "report.json").read_text()) == {"users": 3}


def test_an_existing_report_is_unchanged_until_it_is_replaced(tmp_path):
    (tmp_path / "report.json").write_text("old")
    report = ReportFile(tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == "old"
    report.write(b"new")
    assert (tmp_path / "report.json").read_text() == "new"


def test_a_link_to_a_missing_file_stays_a_link(tmp_path):
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
def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path, name: str, reason: str):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"Cannot write .*: {reason}. Name a file that can be written."):
        ReportFile(tmp_path / name)


def test_a_report_that_can_no_longer_be_written_is_an_input_error(tmp_path):
    (tmp_path / "folder").mkdir()
    report = ReportFile(tmp_path / "folder/report.json")
    (tmp_path / "folder").rmdir()
    with pytest.raises(InputError, match="its folder does not exist"):
        report.write_json({})


def test_a_full_disk_keeps_the_old_report(tmp_path, monkeypatch):
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


def test_a_pipe_receives_the_report(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    ReportFile(tmp_path / "pipe").write(b"new")
    assert os.read(reader, 9) == b"new"
    os.close(reader)
