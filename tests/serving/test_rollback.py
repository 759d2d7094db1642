"""The rollback: the version before is served again under a new number, and nothing is lost."""

from __future__ import annotations

import shutil

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.release import push
from laclrec_tf.serving.release.publication import RECORD_FILE, append_record, push_lock, read_record
from laclrec_tf.serving.release.push import Rollback, push_version, roll_back
from laclrec_tf.serving.release.validation import Validation
from laclrec_tf.serving.version.folder import newest_version, version_folders
from laclrec_tf.serving.version.manifest import verify_manifest


@pytest.fixture
def model(tmp_path, write_version, monkeypatch):
    """Return a model's folder with the versions 1, 2 and 3, all pushed."""
    monkeypatch.setattr(push, "validate", lambda folder: Validation(3, 9, 8, "here"))
    for name in "abc":
        push_version(write_version(tmp_path / name, name), tmp_path / "shop")
    return tmp_path / "shop"


def served(model):
    return (newest_version(model)[1] / "saved_model.pb").read_text()


def contents(model):
    return {number: (folder / "saved_model.pb").read_text() for number, folder in version_folders(model).items()}


def test_the_version_before_comes_again(model):
    assert roll_back(model) == Rollback(model / "4", of=2, instead_of=3)
    assert contents(model) == {1: "a", 2: "b", 3: "c", 4: "b"}
    verify_manifest(model / "4")
    entry = read_record(model)[-1]
    assert {name: entry[name] for name in ("action", "version", "of", "instead_of")} == {
        "action": "rollback",
        "version": 4,
        "of": 2,
        "instead_of": 3,
    }
    assert sorted(path.name for path in model.iterdir() if path.name.startswith(".")) == [RECORD_FILE]


def test_again_it_goes_one_further_back(model):
    assert [roll_back(model).of for _ in range(2)] == [2, 1]
    assert contents(model) == {1: "a", 2: "b", 3: "c", 4: "b", 5: "a"}
    with pytest.raises(InputError, match="no version before the served one, 5, a copy of 1. Push a version"):
        roll_back(model)
    assert len(contents(model)) == 5


def test_after_a_push_before_means_what_was_served(model, tmp_path, write_version):
    roll_back(model)
    push_version(write_version(tmp_path / "d", "d"), model, keep=9)
    assert served(model) == "d"
    assert roll_back(model) == Rollback(model / "6", of=4, instead_of=5)
    assert served(model) == "b"
    # 6 is a copy of 4, which is one of 2: the bad version 3 is not served again.
    assert roll_back(model).of == 1


def test_the_same_candidate_pushed_twice_is_no_copy(model, tmp_path):
    push_version(tmp_path / "a", model, keep=9)
    assert roll_back(model) == Rollback(model / "5", of=3, instead_of=4)


def test_the_line_of_a_rollback_that_never_came_does_not_count(model, write_version):
    append_record(model, "rollback", 4, of=2, instead_of=3, manifest_sha256="0" * 64)
    write_version(model / "4", "exported")  # took the number
    assert roll_back(model).of == 3


def test_a_copy_whose_original_was_removed(model):
    roll_back(model)
    for number in ("1", "2"):
        shutil.rmtree(model / number)
    with pytest.raises(InputError, match="no version before the served one, 4, a copy of 2"):
        roll_back(model)


def test_only_one_version(model):
    for number in ("1", "2"):
        shutil.rmtree(model / number)
    with pytest.raises(InputError, match="no version before the served one, 3. Push"):
        roll_back(model)


def test_no_version(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        roll_back(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_a_damaged_version_before_is_not_served_again(model):
    (model / "2" / "saved_model.pb").write_text("x")
    with pytest.raises(InputError, match="2 is not as it was exported. changed: saved_model.pb"):
        roll_back(model)
    assert served(model) == "c"


def test_not_while_a_push_is_on(model):
    with push_lock(model), pytest.raises(InputError, match="Another process pushes"):
        roll_back(model)
    assert served(model) == "c"


def test_killed_at_any_moment_no_version_is_lost(model, tmp_path, killed_at):
    moment, seen = 0, set()
    while True:
        copy = shutil.copytree(model, tmp_path / "copy" / "shop")
        killed = killed_at(lambda folder=copy: roll_back(folder), copy, moment)
        for folder in version_folders(copy).values():
            verify_manifest(folder)
        seen.add(tuple(contents(copy).items()))
        if killed:
            expected = {"c": 2, "b": 1}[served(copy)]
            assert roll_back(copy).of == expected
        shutil.rmtree(tmp_path / "copy")
        if not killed:
            break
        moment += 1
    assert moment > 30
    before = ((1, "a"), (2, "b"), (3, "c"))
    assert seen == {before, (*before, (4, "b"))}
