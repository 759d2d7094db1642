"""Versions come and go by a rename, whole."""

from __future__ import annotations

import shutil

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.release import publication
from laclrec_tf.serving.release.publication import (
    copy_to_disk,
    publish_copy,
    remove_leftovers,
    remove_old_versions,
    rename_to_next_version,
)
from laclrec_tf.serving.version.manifest import manifest_sha256, verify_manifest


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


def test_the_next_number_is_told_before_the_rename(tmp_path, write_version):
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
    monkeypatch.setattr(publication, "version_numbers", lambda target: [])
    told = []
    assert rename_to_next_version(tmp_path / ".partial-mine", tmp_path, told.append) == tmp_path / "2"
    assert told == [1, 2]
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


def test_old_versions_go_and_the_newest_stay(tmp_path, write_version):
    for name in ("1", "02", "10", "9"):
        write_version(tmp_path / name)
    (tmp_path / "notes").mkdir()
    told = []
    assert remove_old_versions(tmp_path, 2, told.append) == (1, 2)
    assert told == [1, 2]
    assert names(tmp_path) == ["10", "9", "notes"]
    assert remove_old_versions(tmp_path, 2, told.append) == ()


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
