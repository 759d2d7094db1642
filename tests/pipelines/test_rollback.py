"""The command that serves the version before again."""

from __future__ import annotations

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.serving.version.manifest import write_manifest


@pytest.fixture
def model(tmp_path):
    """Return a model's folder with two versions of one file, which holds the version's number."""
    for number in ("1", "2"):
        (tmp_path / "shop" / number).mkdir(parents=True)
        (tmp_path / "shop" / number / "saved_model.pb").write_text(number)
        write_manifest(tmp_path / "shop" / number)
    return tmp_path / "shop"


def roll_back(path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["rollback", str(path)])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_the_version_before_is_published_again(model, capsys):
    assert roll_back(model, capsys) == (0, f"published {model}/3, a copy of version 1, in place of version 2\n", "")
    assert (model / "3" / "saved_model.pb").read_text() == "1"


def test_nothing_before_is_one_line(model, capsys):
    roll_back(model, capsys)
    code, out, error = roll_back(model, capsys)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "has no version before the served one, 3, a copy of 1" in error
