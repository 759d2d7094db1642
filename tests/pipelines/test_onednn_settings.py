"""oneDNN's settings: before TensorFlow is loaded, and only where the environment says nothing."""

from __future__ import annotations

import os
import sys

import pytest

from laclrec_tf.runtime.tensorflow_startup import compile_no_products, keep_compiled_products

NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "TF_ENABLE_ONEDNN_OPTS")


def settings() -> list[str | None]:
    keep_compiled_products()
    compile_no_products()
    return [os.environ.get(name) for name in NAMES]


@pytest.fixture
def environment(monkeypatch):
    """Return the patch of an environment that says nothing, in a process without TensorFlow."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    return monkeypatch


def test_a_process_without_tensorflow_is_set_up(environment):
    assert settings() == ["16384", "0"]


def test_the_environment_has_the_last_word(environment):
    environment.setenv(NAMES[0], "100")
    environment.setenv(NAMES[1], "1")
    assert settings() == ["100", "1"]


def test_a_process_that_has_loaded_tensorflow_stays_as_it_is(environment):
    environment.setitem(sys.modules, "tensorflow", object())
    assert settings() == [None, None]
