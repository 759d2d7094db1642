"""The command that verifies a version."""

from __future__ import annotations

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.serving.version.manifest import write_manifest


@pytest.fixture
def model(tmp_path):
    """Return a model's folder with two versions of one file."""
    for number in ("1", "2"):
        (tmp_path / "shop" / number).mkdir(parents=True)
        (tmp_path / "shop" / number / "saved_model.pb").write_text("graph")
        write_manifest(tmp_path / "shop" / number)
    return tmp_path / "shop"


def verify(path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["verify", str(path)])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_whole_versions(model, capsys):
    assert verify(model, capsys) == (0, f"{model}/2: 1 files, as they were exported\n", "")
    assert verify(model / "1", capsys)[1].startswith(f"{model}/1: 1 files")


def test_damage_is_exit_code_2_and_one_line(model, capsys):
    (model / "2" / "saved_model.pb").write_text("grapH")
    code, out, error = verify(model, capsys)
    assert (code, out) == (2, "")
    assert error.startswith(f"laclrec-tf: {model}/2 is not as it was exported. changed: saved_model.pb.")
    assert error.count("\n") == 1
    assert verify(model / "1", capsys)[0] == 0


def test_a_version_that_lost_its_graph_is_still_one(model, capsys):
    (model / "1" / "saved_model.pb").unlink()
    code, _, error = verify(model / "1", capsys)
    assert code == 2
    assert "missing: saved_model.pb" in error


def test_no_version(tmp_path, capsys):
    code, _, error = verify(tmp_path / "nothing", capsys)
    assert code == 2
    assert "nothing is no folder" in error
