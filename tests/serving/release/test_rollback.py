"""Rollback: the version before the served one is published again, and no version is lost."""

from __future__ import annotations

import shutil
from functools import partial

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.release import push
from laclrec_tf.serving.release import rollback as module
from laclrec_tf.serving.release.publication import RECORD_FILE, append_record, push_lock, read_record
from laclrec_tf.serving.release.rollback import Rollback
from laclrec_tf.serving.release.validation import Validation
from laclrec_tf.serving.version.folder import newest_version, version_folders
from laclrec_tf.serving.version.manifest import verify_manifest, write_manifest

rollback = partial(module.rollback, show_progress=False)


@pytest.fixture
def shop(tmp_path, write_version, monkeypatch):
    """Return a model's folder with the versions 1, 2 and 3, all pushed."""
    monkeypatch.setattr(push, "validate", lambda folder: Validation(3, 9, 8, "here"))
    for name in "abc":
        push.push(write_version(tmp_path / name, name), tmp_path / "shop", show_progress=False)
    return tmp_path / "shop"


def served_content(shop):
    return (newest_version(shop)[1] / "saved_model.pb").read_text()


def contents(shop):
    return {number: (folder / "saved_model.pb").read_text() for number, folder in version_folders(shop).items()}


def test_the_version_before_comes_again(shop):
    assert rollback(shop) == Rollback(shop / "4", of=2, instead_of=3)
    assert contents(shop) == {1: "a", 2: "b", 3: "c", 4: "b"}
    verify_manifest(shop / "4")
    entry = read_record(shop)[-1]
    assert {name: entry[name] for name in ("action", "version", "of", "instead_of")} == {
        "action": "rollback",
        "version": 4,
        "of": 2,
        "instead_of": 3,
    }
    assert sorted(path.name for path in shop.iterdir() if path.name.startswith(".")) == [RECORD_FILE]


def test_again_it_goes_one_further_back(shop):
    assert [rollback(shop).of for _ in range(2)] == [2, 1]
    assert contents(shop) == {1: "a", 2: "b", 3: "c", 4: "b", 5: "a"}
    with pytest.raises(InputError, match="no version before the served one, 5, a copy of 1. Push a version"):
        rollback(shop)
    assert len(contents(shop)) == 5


def test_after_a_push_before_means_what_was_served(shop, tmp_path, write_version):
    rollback(shop)
    push.push(write_version(tmp_path / "d", "d"), shop, keep=9, show_progress=False)
    assert served_content(shop) == "d"
    assert rollback(shop) == Rollback(shop / "6", of=4, instead_of=5)
    assert served_content(shop) == "b"
    # 6 is a copy of 4, which is one of 2: the bad version 3 is not served again.
    assert rollback(shop).of == 1


def test_the_same_candidate_pushed_twice_is_no_copy(shop, tmp_path):
    push.push(tmp_path / "a", shop, keep=9, show_progress=False)
    assert rollback(shop) == Rollback(shop / "5", of=3, instead_of=4)


def test_the_line_of_a_rollback_that_never_came_does_not_count(shop, write_version):
    append_record(shop, "rollback", 4, of=2, instead_of=3, manifest_sha256="0" * 64)
    write_version(shop / "4", "exported")  # took the number
    assert rollback(shop).of == 3


def test_a_copy_whose_original_was_removed(shop):
    rollback(shop)
    for number in ("1", "2"):
        shutil.rmtree(shop / number)
    with pytest.raises(InputError, match="no version before the served one, 4, a copy of 2"):
        rollback(shop)


def test_only_one_version(shop):
    for number in ("1", "2"):
        shutil.rmtree(shop / number)
    with pytest.raises(InputError, match="no version before the served one, 3. Push"):
        rollback(shop)


def test_no_version_to_rollback(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        rollback(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_a_damaged_version_before_is_not_served_again(shop):
    (shop / "2" / "saved_model.pb").write_text("x")
    with pytest.raises(InputError, match="2 is not as it was exported. changed: saved_model.pb"):
        rollback(shop)
    assert served_content(shop) == "c"


def test_not_while_a_push_is_on(shop):
    with push_lock(shop), pytest.raises(InputError, match="Another process pushes"):
        rollback(shop)
    assert served_content(shop) == "c"


def test_killed_at_any_moment_no_version_is_lost(shop, tmp_path, killed_at):
    moment, seen = 0, set()
    while True:
        copy = shutil.copytree(shop, tmp_path / "copy" / "shop")
        killed = killed_at(lambda folder=copy: rollback(folder), copy, moment)
        for folder in version_folders(copy).values():
            verify_manifest(folder)
        seen.add(tuple(contents(copy).items()))
        if killed:
            expected = {"c": 2, "b": 1}[served_content(copy)]
            assert rollback(copy).of == expected
        shutil.rmtree(tmp_path / "copy")
        if not killed:
            break
        moment += 1
    assert moment > 30
    before = ((1, "a"), (2, "b"), (3, "c"))
    assert seen == {before, (*before, (4, "b"))}


def test_the_command_on_versions_that_were_not_pushed(tmp_path, capsys):
    for number in ("1", "2"):
        (tmp_path / "shop" / number).mkdir(parents=True)
        (tmp_path / "shop" / number / "saved_model.pb").write_text(number)
        write_manifest(tmp_path / "shop" / number)
    with pytest.raises(SystemExit) as exit_:
        main(["rollback", str(tmp_path / "shop")])
    published = f"published {tmp_path}/shop/3, a copy of version 1, in place of version 2\n"
    assert (exit_.value.code, *capsys.readouterr()) == (0, published, "")
    assert (tmp_path / "shop" / "3" / "saved_model.pb").read_text() == "1"

    with pytest.raises(SystemExit) as exit_:
        main(["rollback", str(tmp_path / "shop")])
    out, error = capsys.readouterr()
    assert (exit_.value.code, out, error.count("\n")) == (2, "", 1)
    assert "has no version before the served one, 3, a copy of 1" in error
