"""Memory goes back to the system."""

from __future__ import annotations

import ctypes
import os

import numpy as np
import pytest

from laclrec_tf.runtime.machine import resident_megabytes
from laclrec_tf.serving.server.served_model import return_free_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_between_what_is_in_use_goes_back():
    blocks = [np.ones(8000) for _ in range(1600)]  # 64 kB each, below what glibc maps by itself: 102 MB
    kept = blocks[::40]
    del blocks
    before = resident_megabytes(os.getpid())
    return_free_memory()
    assert before - resident_megabytes(os.getpid()) > 50
    assert len(kept) == 40


def test_nothing_happens_where_the_c_library_cannot(monkeypatch: pytest.MonkeyPatch):
    asked: list[None] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    return_free_memory()
    assert asked == [None]  # the process's own C library was looked at, and has no such function
