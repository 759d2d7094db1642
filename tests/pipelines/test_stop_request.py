"""SIGTERM is noted while a block runs, and interrupts as before elsewhere."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from laclrec_tf.runtime.processes import StopRequest


@pytest.fixture
def interrupting():
    """Let SIGTERM interrupt, as it does on the command line."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_what_came_in_one_block_is_known_in_the_next(interrupting):
    stop = StopRequest()
    with stop:
        terminate()
    assert stop.received
    with stop:  # the refit after a strict training in whose last validation it came
        assert stop.received


def test_between_blocks_it_interrupts(interrupting):
    stop = StopRequest()
    with stop:
        pass
    with pytest.raises(KeyboardInterrupt):
        terminate()
    assert not stop.received


def test_outside_the_main_thread_nothing_is_noted_and_nothing_fails(interrupting):
    def listen():
        with StopRequest() as stop:
            found.append(stop.received)

    found: list[bool] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [False]
