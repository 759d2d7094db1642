"""Run the ready-made pipelines as scripts."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "pipelines"


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a script in a process of its own, in a folder."""

    def run(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a script in this process and returns its output.

    With `code` it expects this exit code and one line on standard error, and returns the line.
    """

    def run(name: str, *arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", [str(FOLDER / name), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        captured = capsys.readouterr()
        assert exit_.value.code == code, captured.err
        if not code:
            return captured.out
        assert captured.err.count("\n") == 1 and captured.err.startswith(f"{name}: "), captured.err
        return captured.err

    return run
