"""The memory of versions: a thread for each, and freed memory is returned to the system."""

from __future__ import annotations

import ctypes
import os
import threading

import numpy as np
import pytest

from laclrec_tf.runtime.machine import resident_megabytes
from laclrec_tf.serving.server.memory import LoaderThreads, return_free_memory


def test_a_thread_is_used_again_when_it_is_given_back():
    threads = LoaderThreads()
    first, second, third = threads.take(), threads.take(), threads.take()
    idents = [loader.run(threading.get_ident) for loader in (first, second, third)]
    assert len({*idents, threading.get_ident()}) == 4
    threads.give_back(second)
    assert threads.take().run(threading.get_ident) == idents[1]


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        LoaderThreads().take().run(lambda: 1 / 0)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_between_what_is_in_use_goes_back():
    blocks = [np.ones(8000) for _ in range(1600)]  # 64 kB each, below what glibc maps by itself: 102 MB
    kept = blocks[::40]
    del blocks
    before = resident_megabytes(os.getpid())
    return_free_memory()
    assert before - resident_megabytes(os.getpid()) > 50
    assert len(kept) == 40


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch):
    asked: list[None] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    return_free_memory()
    assert asked == [None]  # the process's own C library was looked at, and has no such function
