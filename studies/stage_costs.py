"""Measure the time and memory of every stage on one file of events, on Linux: the table in `docs/own-data.md`.

python studies/stage_costs.py events.parquet --option=--user-column=customer --option=--item-column=sku
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.table import Table

from laclrec_tf.cli.main import run_app
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.machine import processor_name
from laclrec_tf.runtime.terminal import terminal


class Cost(NamedTuple):
    """What a command cost.

    Args:
        seconds: Wall-clock time.
        gigabytes: Largest resident memory of its process.
    """

    seconds: float
    gigabytes: float


def main(
    events: Annotated[Path, typer.Argument(help="File of events.")],
    option: Annotated[list[str] | None, typer.Option(help="Option of `prepare`. May be repeated.")] = None,
    preset: Annotated[str, typer.Option(help="Preset of `train`.")] = "sasrec",
    epochs: Annotated[int, typer.Option(help="Number of epochs to train.", min=1)] = 3,
) -> None:
    """Run the commands from events to recommendations for all users, and print what each cost."""
    with tempfile.TemporaryDirectory() as folder:
        costs = stage_costs(events, Path(folder), option or [], preset, epochs)
        data = PreparedData.open(Path(folder) / "data")
        read = f"{data.counts['rows_read']:,} events read, max length {data.max_length}"
    title = f"{events.name}: {read}, {processor_name()}"
    table = Table("command", "seconds", "GB", title=title)
    for name, cost in costs.items():
        table.add_row(name, f"{cost.seconds:.1f}", f"{cost.gigabytes:.2f}")
    terminal().print(table)


def stage_costs(events: Path, folder: Path, options: list[str], preset: str, epochs: int) -> dict[str, Cost]:
    """Run every stage and return what it cost, by a name for people.

    Args:
        events: File of events.
        folder: Folder for the results.
        options: Options of `prepare`.
        preset: Preset of `train`.
        epochs: Number of epochs to train.

    Raises:
        InputError: A command failed; its messages are in the error.
    """
    data, run = f"{folder}/data", f"{folder}/run"
    training = ["--preset", preset, "--epochs", str(epochs)]
    commands = {
        "prepare": ["prepare", str(events), "--out", data, *options],
        f"train, {epochs} epochs": ["train", data, "--out", run, *training],
        "evaluate": ["evaluate", run],
        "report": ["report", run, "--out", f"{folder}/report.html"],
        "export": ["export", run, "--to", f"{folder}/model"],
        "recommend-all": ["recommend-all", f"{folder}/model", data, "--out", f"{folder}/lists.parquet"],
    }
    return {name: cost_of([sys.executable, "-m", "laclrec_tf.cli.main", *each]) for name, each in commands.items()}


def cost_of(command: list[str]) -> Cost:
    """Run a command and return what it cost.

    Args:
        command: The program and its arguments.

    Raises:
        InputError: The command failed; its messages are in the error.

    Example:
        >>> 0 < cost_of([sys.executable, "-c", "import time; time.sleep(0.1)"]).gigabytes < 1
        True
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages)
        kilobytes = 0
        while process.poll() is None:  # the usage that the system reports at the end counts this process, too
            status = Path(f"/proc/{process.pid}/status").read_text()
            kilobytes = max([kilobytes, *map(int, re.findall(r"VmHWM:\s+(\d+) kB", status))])
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        if process.returncode:
            messages.seek(0)
            raise InputError(f"{' '.join(command[2:])} failed: {messages.read().strip()}")
    return Cost(seconds, kilobytes / 2**20)


if __name__ == "__main__":
    run_app(main, "stage_costs.py")
