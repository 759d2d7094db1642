"""A function in a process of its own: its result, its error, its end, and an interruption at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import popen_spawn_posix

import pytest

from pipelines.child_process import ProcessKilledError, call_in_a_process, start_child

context = multiprocessing.get_context("spawn")


@pytest.fixture
def interrupting():
    """Let SIGTERM interrupt, as it does on the command line."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def terminated_while_starting(monkeypatch):
    """Send SIGTERM between the start of a process and the sending of what it is to do."""
    spawn = popen_spawn_posix.util.spawnv_passfds

    def spawn_and_terminate(*arguments):
        pid = spawn(*arguments)
        if "spawn_main" in str(arguments):  # not the resource tracker
            os.kill(os.getpid(), signal.SIGTERM)
        return pid

    monkeypatch.setattr(popen_spawn_posix.util, "spawnv_passfds", spawn_and_terminate)


def test_what_a_function_returns_and_raises():
    assert call_in_a_process(divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError, match="by zero"):
        call_in_a_process(divmod, 17, 0)


def test_a_killed_process_is_told_from_an_error():
    with pytest.raises(ProcessKilledError):
        call_in_a_process(os._exit, 9)


def test_terminated_while_the_function_runs(interrupting, tmp_path, capfd):
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(KeyboardInterrupt):
        call_in_a_process(subprocess.run, ["sh", "-c", f"sleep 60; touch {tmp_path / 'finished'}"])
    assert list(tmp_path.iterdir()) == []  # it was not waited for
    assert multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


def test_terminated_in_the_middle_of_a_start(interrupting, terminated_while_starting, capfd):
    child = context.Process(target=time.sleep, args=(60,), daemon=True)
    with pytest.raises(KeyboardInterrupt):
        start_child(child)
    assert child.exitcode == -signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_the_signals_are_as_before(interrupting):
    before = signal.getsignal(signal.SIGINT)
    child = context.Process(target=os.getpid, daemon=True)
    start_child(child)
    child.join()
    assert child.exitcode == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_in_a_thread():
    child = context.Process(target=os.getpid, daemon=True)
    thread = threading.Thread(target=start_child, args=(child,))
    thread.start()
    thread.join()
    child.join()
    assert child.exitcode == 0


PARENT = """
import multiprocessing, time
from pipelines.child_process import start_child

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,), daemon=True)
    start_child(child)
    try:
        print("started", flush=True)
        child.join()
    except KeyboardInterrupt:
        child.terminate()
        child.join()
        print(child.exitcode, flush=True)
"""


def test_interrupted_at_a_terminal_only_the_parent_hears_it(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    run = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.readline() == "started\n"
    os.killpg(run.pid, signal.SIGINT)  # what a terminal does at Ctrl-C, while the child still imports
    assert run.communicate(timeout=60) == (f"{-signal.SIGTERM}\n", "")
