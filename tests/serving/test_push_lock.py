"""The lock: one push at a time, and none that outlives its process."""

from __future__ import annotations

import fcntl
import os
import signal
import threading

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.release.publication import LOCK_FILE, push_lock


def test_a_second_push_is_refused_at_once(tmp_path):
    with push_lock(tmp_path):
        with pytest.raises(InputError, match="Another process pushes to .* Wait for it"), push_lock(tmp_path):
            pass
        with pytest.raises(InputError), push_lock(tmp_path):  # the refused one did not take it away
            pass
    with push_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with push_lock(tmp_path):
            os.write(writer, b"held")
            signal.pause()
        os._exit(0)
    assert os.read(reader, 4) == b"held"
    with pytest.raises(InputError), push_lock(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK_FILE).exists()
    with push_lock(tmp_path):
        pass
    os.close(reader)
    os.close(writer)


def test_a_lock_file_that_goes_meanwhile_protects_nobody(tmp_path, monkeypatch):
    """Between our opening the file and locking it, its holder removes it and the next one makes and locks another."""
    real, others = fcntl.flock, []

    def late(lock, operation):
        if not others:
            (tmp_path / LOCK_FILE).unlink()
            others.append((tmp_path / LOCK_FILE).open("w"))
            real(others[0], fcntl.LOCK_EX)
        real(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="Another process pushes"), push_lock(tmp_path):
        pass
    others[0].close()
    with push_lock(tmp_path):
        pass


def test_many_at_once_enter_one_by_one(tmp_path):
    inside, most, entered, refused = 0, 0, 0, 0
    counter = threading.Lock()
    start = threading.Barrier(4)

    def push_often():
        nonlocal inside, most, entered, refused
        start.wait()
        for _ in range(300):
            try:
                with push_lock(tmp_path):
                    with counter:
                        inside += 1
                        most = max(most, inside)
                        entered += 1
                    os.stat(tmp_path)  # lets the others run
                    with counter:
                        inside -= 1
            except InputError:
                with counter:
                    refused += 1

    threads = [threading.Thread(target=push_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert entered + refused == 4 * 300  # nobody waits for ever, and nobody fails otherwise
    assert list(tmp_path.iterdir()) == []
