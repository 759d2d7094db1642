"""The watcher goes on whatever happens, and ends when told."""

from __future__ import annotations

import threading

from laclrec_tf.serving.server.server import VersionWatcher


def test_it_calls_again_after_a_failure(caplog):
    twice = threading.Event()
    calls = []

    def refresh() -> None:
        calls.append(1)
        if len(calls) == 2:
            twice.set()
        raise OSError("the disk is away")

    with VersionWatcher(refresh, poll_seconds=0.001):
        assert twice.wait(30)
    assert "the disk is away" in caplog.text
    ended = len(calls)
    assert threading.Event().wait(0.02) is False
    assert len(calls) == ended


def test_never():
    before = set(threading.enumerate())
    watcher = VersionWatcher(lambda: 1 / 0, poll_seconds=0)
    watcher.start()
    assert set(threading.enumerate()) <= before
    watcher.stop()
