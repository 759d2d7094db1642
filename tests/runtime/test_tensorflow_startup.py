"""Importing TensorFlow prints nothing, and the environment decides on its settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from laclrec_tf.runtime.tensorflow_startup import compile_no_products, keep_compiled_products

NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "TF_ENABLE_ONEDNN_OPTS")
# As in a notebook, TensorFlow's libraries write to another standard error than Python.
CODE = """
import os, sys
sys.stderr = open(os.dup(2), "w")
sys.path.insert(0, {root!r})
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
import_tensorflow_quietly()
print("tensorflow" in sys.modules)
print("heard", file=sys.stderr)
"""


def settings() -> list[str | None]:
    keep_compiled_products()
    compile_no_products()
    return [os.environ.get(name) for name in NAMES]


@pytest.fixture
def environment(monkeypatch):
    """Return a patch of the environment, without settings and without TensorFlow."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    return monkeypatch


def test_settings_are_made_before_tensorflow_is_loaded(environment):
    assert settings() == ["16384", "0"]


def test_settings_of_the_environment_are_kept(environment):
    environment.setenv(NAMES[0], "100")
    environment.setenv(NAMES[1], "1")
    assert settings() == ["100", "1"]


def test_no_settings_are_made_after_tensorflow_is_loaded(environment):
    environment.setitem(sys.modules, "tensorflow", object())
    assert settings() == [None, None]


def test_importing_tensorflow_prints_nothing_and_standard_error_is_restored():
    code = CODE.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert done.stderr == "heard\n"
