"""What is done again and again, until it is told to stop or says so itself."""

from __future__ import annotations

import threading
import time

from laclrec_tf.runtime.processes import Repetition


def test_it_goes_on_until_the_context_is_left():
    calls, enough = [], threading.Event()

    def act() -> bool:
        calls.append(repetition.elapsed())
        if len(calls) == 3:
            enough.set()
        return True

    with (repetition := Repetition(act, every=0.001, name="test")):
        assert enough.wait(30)
    n_calls = len(calls)
    assert n_calls >= 3 and calls == sorted(calls)
    assert all(thread.name != "test" for thread in threading.enumerate())


def test_what_wants_no_more_is_not_called_again():
    calls, called = [], threading.Event()

    def act() -> bool:
        calls.append(1)
        called.set()
        return False

    with Repetition(act, every=0.001, name="once"):
        assert called.wait(30)
        while any(thread.name == "once" for thread in threading.enumerate()):
            time.sleep(0.001)
    assert calls == [1]


def test_never():
    calls: list[None] = []
    with Repetition(lambda: calls.append(None), every=None, name="never"):
        pass
    with Repetition(lambda: calls.append(None), every=3600, name="later"):
        pass
    assert not calls
