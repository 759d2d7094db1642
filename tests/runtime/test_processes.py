"""Repeated calls, SIGTERM, and child processes: results, errors, and interruptions at any moment."""

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

from laclrec_tf.runtime.processes import (
    ProcessKilledError,
    Repetition,
    StopRequest,
    call_in_a_process,
    end_child,
    start_child,
)

context = multiprocessing.get_context("spawn")


def test_a_repetition_runs_until_the_block_ends():
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


def test_a_repetition_stops_when_its_function_says_so():
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


def test_a_repetition_may_make_no_call():
    calls: list[None] = []
    with Repetition(lambda: calls.append(None), every=None, name="never"):
        pass
    with Repetition(lambda: calls.append(None), every=3600, name="later"):
        pass
    assert not calls


@pytest.fixture
def interrupting():
    """Let SIGTERM raise KeyboardInterrupt, as on the command line."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_request_in_one_block_is_known_in_the_next(interrupting):
    stop = StopRequest()
    with stop:
        terminate()
    assert stop.received
    with stop:  # e.g. a refit, when the request arrived in the last validation before it
        assert stop.received


def test_ctrl_c_is_recorded_and_a_second_one_interrupts(capsys):
    stop = StopRequest("stopping after this step")
    with pytest.raises(KeyboardInterrupt), stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received
        os.kill(os.getpid(), signal.SIGINT)
    assert capsys.readouterr().err == "stopping after this step\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop.received and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_between_blocks_sigterm_interrupts(interrupting):
    stop = StopRequest()
    with stop:
        pass
    with pytest.raises(KeyboardInterrupt):
        terminate()
    assert not stop.received


def test_outside_the_main_thread_nothing_is_recorded(interrupting):
    def listen():
        with StopRequest() as stop:
            found.append(stop.received)

    found: list[bool] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.fixture
def terminated_while_starting(monkeypatch):
    """Send SIGTERM after a process is spawned and before its task is sent."""
    spawn = popen_spawn_posix.util.spawnv_passfds

    def spawn_and_terminate(*arguments):
        pid = spawn(*arguments)
        if "spawn_main" in str(arguments):  # not the resource tracker
            os.kill(os.getpid(), signal.SIGTERM)
        return pid

    monkeypatch.setattr(popen_spawn_posix.util, "spawnv_passfds", spawn_and_terminate)


def test_results_and_errors_of_a_function_are_passed_on():
    assert call_in_a_process(divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError, match="by zero"):
        call_in_a_process(divmod, 17, 0)


def test_a_killed_process_is_reported():
    with pytest.raises(ProcessKilledError):
        call_in_a_process(os._exit, 9)


BEGIN = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, getattr(signal, {on_sigterm!r}))
pathlib.Path({begun!r}).touch()
time.sleep(600)
"""


@pytest.mark.parametrize("on_sigterm", ["SIG_DFL", "SIG_IGN"])
def test_sigterm_while_the_function_runs(interrupting, tmp_path, monkeypatch, capfd, on_sigterm):
    monkeypatch.setattr("laclrec_tf.runtime.processes.GRACE_SECONDS", 0.5)
    begun = tmp_path / "begun"

    def terminate():
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        call_in_a_process(exec, BEGIN.format(begun=str(begun), on_sigterm=on_sigterm))
    assert multiprocessing.active_children() == []
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_has_the_traceback_of_the_child():
    with pytest.raises(ZeroDivisionError) as raised:
        call_in_a_process(eval, "1 / 0")
    assert 'File "<string>", line 1' in raised.value.__notes__[0]


def test_an_error_that_cannot_be_pickled():
    with pytest.raises(RuntimeError, match="class of its own"):
        call_in_a_process(exec, "class Own(Exception): pass\nraise Own('class of its own')")


def test_sigterm_during_a_start(interrupting, terminated_while_starting, capfd):
    child = context.Process(target=time.sleep, args=(60,), daemon=True)
    with pytest.raises(KeyboardInterrupt):
        start_child(child)
    end_child(child)
    assert child.exitcode == -signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_signal_handlers_are_restored_after_a_start(interrupting):
    before = signal.getsignal(signal.SIGINT)
    child = context.Process(target=os.getpid, daemon=True)
    start_child(child)
    child.join()
    assert child.exitcode == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_a_process_that_never_started_can_be_ended():
    child = context.Process(target=os.getpid)
    end_child(child)
    assert child.exitcode is None


def test_a_process_can_be_started_in_another_thread():
    child = context.Process(target=os.getpid, daemon=True)
    thread = threading.Thread(target=start_child, args=(child,))
    thread.start()
    thread.join()
    child.join()
    assert child.exitcode == 0


PARENT = """
import multiprocessing, signal, time
from laclrec_tf.runtime.processes import start_child

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where pytest runs it may be ignored
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


def test_ctrl_c_interrupts_only_the_parent(tmp_path):
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
