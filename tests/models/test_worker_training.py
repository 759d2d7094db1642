"""Two processes on this machine train as one does on the same global batches."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("worker_training.py")
ROOT = Path(__file__).parents[2]


def free_ports() -> list[str]:
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the output of a process. One that hangs writes the stacks of its threads, then it is killed."""
    try:
        return process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler writes the stacks
        return process.communicate(timeout=30)


def results(preset: str, tasks: list[str]) -> list[dict[str, Any]]:
    ports = free_ports()
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONFAULTHANDLER": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), preset, task, *ports],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in tasks
    ]
    answers = [ended(process) for process in processes]
    # One that dies takes the others with it: the end of each is told.
    told = [
        f"{task} ended with {process.returncode}: {error[-2000:]}"
        for task, process, (_, error) in zip(tasks, processes, answers, strict=True)
    ]
    assert all("RESULT" in out for out, _ in answers), "\n\n".join(told)
    return [json.loads(out.split("RESULT")[1]) for out, _ in answers]


def test_two_workers_give_the_losses_of_one_on_the_same_batches():
    chief, other, alone = results("laclrec", ["0", "1", "alone"])
    assert set(chief["log"]) == set(alone["log"])
    # With InfoNCE this holds only if each sees the other's histories as negatives.
    for name, values in alone["log"].items():
        if name.endswith("loss") or name.startswith("val_"):
            assert chief["log"][name] == pytest.approx(values, rel=1e-5, abs=1e-5), name
            assert other["log"][name] == pytest.approx(values, rel=1e-5, abs=1e-5), name
    assert chief["weights"] == other["weights"]
    assert chief["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-4)
