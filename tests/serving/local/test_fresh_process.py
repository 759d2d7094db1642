"""The process that a SavedModel is checked in: its arguments, and its error message when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from laclrec_tf.serving.local import fresh_process
from laclrec_tf.serving.local.fresh_process import FreshProcessError, answers_of_fresh_process


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return a function that sets what the process runs."""

    def run(text: str) -> None:
        (tmp_path / "script.py").write_text(f"import os, sys\n{text}\n")
        monkeypatch.setattr(fresh_process, "__file__", str(tmp_path / "script.py"))

    return run


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print('a note', file=sys.stderr)\nraise KeyError('x')", "KeyError: 'x'"),
        (f"print('a note', file=sys.stderr)\nos.kill(os.getpid(), {int(signal.SIGKILL)})", "killed by signal 9"),
        (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", "killed by signal 9"),
        ("sys.exit(3)", "no reason given"),
    ],
)
def test_the_last_line_is_the_reason(script, tmp_path, text, reason):
    script(text)
    with pytest.raises(FreshProcessError) as caught:
        answers_of_fresh_process(tmp_path)
    assert caught.value.reason == reason


def test_the_callers_paths_are_not_used(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script("sys.exit(repr([sys.path, sys.argv[1:2] + sys.argv[3:], os.environ['CUDA_VISIBLE_DEVICES']]))")
    with pytest.raises(FreshProcessError) as caught:
        answers_of_fresh_process(tmp_path / "1", tmp_path / "requests")
    path, arguments, devices = eval(caught.value.reason)
    assert str(tmp_path) not in path
    assert os.getcwd() not in path
    assert arguments == [str(tmp_path / "1"), str(tmp_path / "requests")]
    assert devices == "-1"


def test_the_script_cannot_import_this_package_nor_keras(tmp_path):
    # A stand-in for TensorFlow tries to, as a SavedModel's code would when it is loaded.
    stand_in = "class saved_model:\n    def load(folder):\n        {}\n        raise SystemExit('imported')\n"
    for number, package in enumerate(("laclrec_tf", "keras")):
        folder = tmp_path / str(number)
        (folder / "tensorflow_serving").mkdir(parents=True)
        (folder / "tensorflow_serving" / "__init__.py").touch()
        (folder / "tensorflow.py").write_text(stand_in.format(f"import {package}"))
        (folder / "tensorflow_serving" / "apis.py").write_text("predict_pb2 = prediction_log_pb2 = None\n")
        command = [sys.executable, fresh_process.__file__, "folder", "answers"]
        environment = os.environ | {"PYTHONPATH": str(folder)}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert f"ModuleNotFoundError: import of {package} halted; None in sys.modules" in process.stderr
