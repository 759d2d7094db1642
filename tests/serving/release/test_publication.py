"""Versions are published and removed by a rename, whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
from datetime import datetime

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.release import publication
from laclrec_tf.serving.release.publication import (
    LOCK_FILE,
    RECORD_FILE,
    append_record,
    copy_to_disk,
    publish_copy,
    push_lock,
    read_record,
    remove_leftovers,
    remove_old_versions,
    rename_to_next_version,
)
from laclrec_tf.serving.version.manifest import manifest_sha256, verify_manifest


def test_a_second_push_is_refused_at_once(tmp_path):
    with push_lock(tmp_path):
        with pytest.raises(InputError, match="Another process pushes to .* Wait for it"), push_lock(tmp_path):
            pass
        with pytest.raises(InputError), push_lock(tmp_path):  # the refused one did not take it away
            pass
    with push_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with push_lock(tmp_path):
            os.write(writer, b"held")
            signal.pause()
        os._exit(0)
    assert os.read(reader, 4) == b"held"
    with pytest.raises(InputError), push_lock(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK_FILE).exists()
    with push_lock(tmp_path):
        pass
    os.close(reader)
    os.close(writer)


def test_a_lock_file_that_goes_meanwhile_protects_nobody(tmp_path, monkeypatch):
    """Between our opening the file and locking it, its holder removes it and the next one makes and locks another."""
    real, others = fcntl.flock, []

    def late(lock, operation):
        if not others:
            (tmp_path / LOCK_FILE).unlink()
            others.append((tmp_path / LOCK_FILE).open("w"))
            real(others[0], fcntl.LOCK_EX)
        real(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="Another process pushes"), push_lock(tmp_path):
        pass
    others[0].close()
    with push_lock(tmp_path):
        pass


def test_many_at_once_enter_one_by_one(tmp_path):
    inside, max_inside, entered, refused = 0, 0, 0, 0
    counter = threading.Lock()
    start = threading.Barrier(4)

    def push_often():
        nonlocal inside, max_inside, entered, refused
        start.wait()
        for _ in range(300):
            try:
                with push_lock(tmp_path):
                    with counter:
                        inside += 1
                        max_inside = max(max_inside, inside)
                        entered += 1
                    os.stat(tmp_path)  # lets the others run
                    with counter:
                        inside -= 1
            except InputError:
                with counter:
                    refused += 1

    threads = [threading.Thread(target=push_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max_inside == 1
    assert entered + refused == 4 * 300  # nobody waits for ever, and nobody fails otherwise
    assert list(tmp_path.iterdir()) == []


def test_lines_come_back_in_order(tmp_path):
    append_record(tmp_path, "push", 1, candidate="größe/1")
    append_record(tmp_path, "remove", 1)
    first, second = read_record(tmp_path)
    assert {name: first[name] for name in ("action", "version", "candidate")} == {
        "action": "push",
        "version": 1,
        "candidate": "größe/1",
    }
    assert (second["action"], second["version"]) == ("remove", 1)
    assert datetime.fromisoformat(first["time"]).utcoffset().total_seconds() == 0
    assert len((tmp_path / RECORD_FILE).read_bytes().splitlines()) == 2


def test_a_line_cut_short_harms_no_other(tmp_path):
    append_record(tmp_path, "push", 1)
    with (tmp_path / RECORD_FILE).open("a") as file:
        file.write('{"action": "pu')
    append_record(tmp_path, "push", 2)
    append_record(tmp_path, "push", 3)
    assert [entry["version"] for entry in read_record(tmp_path)] == [1, 2, 3]


def test_lines_of_others_are_left_out(tmp_path):
    (tmp_path / RECORD_FILE).write_bytes(b'3\n{"version": "4"}\n\xff\n\n')
    append_record(tmp_path, "push", 5)
    assert [entry["version"] for entry in read_record(tmp_path)] == [5]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_holds_what_the_manifest_names_and_no_more(tmp_path, write_version):
    version = write_version(tmp_path / "1")
    (version / "superfluous").touch()
    copy_to_disk(version, tmp_path / "copy")
    verify_manifest(tmp_path / "copy")
    assert manifest_sha256(tmp_path / "copy") == manifest_sha256(version)


def test_every_file_and_folder_is_synced_after_it_was_written(tmp_path, write_version, monkeypatch):
    version = write_version(tmp_path / "1")
    synced = []
    monkeypatch.setattr(publication, "sync", lambda path: synced.append((path, sorted(path.rglob("*")))))
    publish_copy(version, tmp_path, manifest_sha256(version), lambda number: synced.append(("renamed", number)))
    *copy, renamed, model, parent = synced
    whole = sorted(path.relative_to(version).as_posix() for path in version.rglob("*"))
    hidden = copy[0][0].parents[len(copy[0][0].relative_to(tmp_path).parts) - 2]
    assert hidden.name.startswith(".push-")
    assert sorted(path.relative_to(hidden).as_posix() for path, _ in copy) == sorted([".", *whole])
    # A folder's names are on the disk once all of them are there.
    assert all(
        [each.relative_to(hidden).as_posix() for each in below] == whole for path, below in copy if path == hidden
    )
    assert renamed == ("renamed", 2)
    assert (model[0], parent[0]) == (tmp_path, tmp_path.parent)
    assert tmp_path / "2" in model[1]


def test_the_next_number_is_passed_on_before_the_rename(tmp_path, write_version):
    (tmp_path / "shop" / "007").mkdir(parents=True)
    version = write_version(tmp_path / "1")
    seen = []
    new = publish_copy(
        version, tmp_path / "shop", manifest_sha256(version), lambda n: seen.append((n, names(tmp_path / "shop")[1:]))
    )
    assert new == tmp_path / "shop" / "8"
    assert seen == [(8, ["007"])]


def test_a_version_taken_meanwhile_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_text("theirs")
    (tmp_path / ".partial-mine").mkdir()
    (tmp_path / ".partial-mine" / "saved_model.pb").write_text("mine")
    monkeypatch.setattr(publication, "version_folders", lambda target: {})
    tried = []
    assert rename_to_next_version(tmp_path / ".partial-mine", tmp_path, tried.append) == tmp_path / "2"
    assert tried == [1, 2]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "theirs"
    assert (tmp_path / "2" / "saved_model.pb").read_text() == "mine"


def test_a_version_that_changes_while_it_is_copied_is_not_published(tmp_path, write_version):
    version, model = write_version(tmp_path / "1"), tmp_path / "shop"
    model.mkdir()
    sha256 = manifest_sha256(version)
    (version / "saved_model.pb").write_text("chart")  # as long as before
    with pytest.raises(InputError, match="is not as it was exported. changed: saved_model.pb"):
        publish_copy(version, model, sha256, lambda number: None)
    shutil.rmtree(version)
    write_version(version, "another")
    with pytest.raises(InputError, match="changed while it was pushed"):
        publish_copy(version, model, sha256, lambda number: None)
    assert names(model) == []


def test_a_full_disk_leaves_nothing(tmp_path, write_version, monkeypatch):
    version, model = write_version(tmp_path / "1"), tmp_path / "shop"
    model.mkdir()

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publication, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        publish_copy(version, model, manifest_sha256(version), lambda number: None)
    assert names(model) == []


def test_old_versions_are_deleted_and_the_newest_kept(tmp_path, write_version):
    for name in ("1", "02", "10", "9"):
        write_version(tmp_path / name)
    (tmp_path / "notes").mkdir()
    removed = []
    assert remove_old_versions(tmp_path, 2, removed.append) == (1, 2)
    assert removed == [1, 2]
    assert names(tmp_path) == ["10", "9", "notes"]
    assert remove_old_versions(tmp_path, 2, removed.append) == ()


def test_a_version_is_hidden_before_it_is_deleted(tmp_path, write_version, monkeypatch):
    for name in ("1", "2"):
        write_version(tmp_path / name)
    seen = []
    monkeypatch.setattr(publication.shutil, "rmtree", lambda folder: (seen.append(folder), verify_manifest(folder)))
    remove_old_versions(tmp_path, 1, lambda number: None)
    assert [folder.name.startswith(".removed-") for folder in seen] == [True]
    assert names(tmp_path) == [seen[0].name, "2"]


def test_leftovers_are_those_of_pushes(tmp_path):
    for name in (".push-1", ".removed-1", ".partial-1", "1"):
        (tmp_path / name / "below").mkdir(parents=True)
    (tmp_path / ".pushes.jsonl").touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".partial-1", ".pushes.jsonl", "1"]
