"""Which folders are versions."""

from __future__ import annotations

import shutil

import pytest

import laclrec_tf
from laclrec_tf.errors import InputError
from laclrec_tf.serving.release.export import export
from laclrec_tf.serving.version.folder import check_model_folder, model_folder, version_folders


def test_it_is_made_with_its_parents(tmp_path):
    with model_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt()])
def test_a_failure_deletes_what_was_created(tmp_path, error):
    (tmp_path / "there").mkdir()
    with pytest.raises(type(error)), model_folder(tmp_path / "there" / "a" / "b"):
        raise error
    assert list((tmp_path / "there").iterdir()) == []


def test_what_others_put_there_stays(tmp_path):
    with pytest.raises(InputError), model_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "theirs").touch()
        raise InputError("no")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs"]


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(InputError), model_folder(tmp_path):
        raise InputError("no")
    assert tmp_path.is_dir()


def test_what_the_system_refuses_is_one_line(tmp_path):
    message = "Cannot write to .*a: No space left on device. Give another folder"
    with pytest.raises(InputError, match=message), model_folder(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_models_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(InputError, match="file: it is a file. Give a folder"):
        check_model_folder(tmp_path / "file")
    with pytest.raises(InputError, match="one version of a model. Give the folder above it"):
        check_model_folder(tmp_path / "1")
    with pytest.raises(InputError, match="Not a directory"), model_folder(tmp_path / "file" / "below"):
        pass


def test_only_folders_named_by_an_int64_are_versions(tmp_path):
    for name in ("3", "007", str(2**63 - 1), str(2**63), "9" * 25, "-1", "1.5", "\u0663", ".4", "stable"):
        (tmp_path / name).mkdir()
    (tmp_path / "8").write_text("a file")
    assert list(version_folders(tmp_path)) == [3, 7, 2**63 - 1]
    assert version_folders(tmp_path)[7] == tmp_path / "007"


@pytest.mark.parametrize("name", ["shop[1]", "sh*p", "sh?p", "sh\\op"])
def test_a_place_that_tensorflow_reads_as_a_pattern_is_refused(sasrec_run, sasrec_export, tmp_path, name):
    for call in (
        lambda: export(sasrec_run.folder, tmp_path / name / "shop", show_progress=False),
        lambda: laclrec_tf.load(shutil.copytree(sasrec_export, tmp_path / name / "copy")),
    ):
        with pytest.raises(InputError, match="TensorFlow cannot read a model in .*Choose a folder whose path has none"):
            call()
    assert not (tmp_path / name / "shop").exists()
