"""Progress in the terminal: a bar where steps are counted, a spinner where not, a line for each epoch done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.terminal import terminal


def progress_bar(console: Console | None = None, disable: bool = False) -> Progress:
    """Return a progress bar with counts and the time left, on standard error if that is a terminal."""
    console = console or terminal(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=disable or not console.is_terminal,
    )


@contextmanager
def spinner(title: str, console: Console | None = None, disable: bool = False) -> Iterator[None]:
    """Show while the block runs that it does and for how long, on standard error if that is a terminal.

    Args:
        title: what is being done.
        console: where to show it. Default: standard error.
        disable: show nothing. Default: False.
    """
    console = console or terminal(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=disable or not console.is_terminal) as progress:
        progress.add_task(title, total=None)
        yield


class EpochProgress(keras.callbacks.Callback):
    """Show a bar over the steps of each epoch and of its validation, and print one line when it is done.

    Args:
        title: what is being trained, shown before the epoch.
        console: where to print. Default: standard error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        super().__init__()
        self.title = title
        self.console = console or terminal(stderr=True)
        self.progress: Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the bar."""
        self.started = time.perf_counter()
        self.progress = progress_bar(self.console)
        self.progress.start()
        self.task = self.progress.add_task(
            f"{self.title} epoch {epoch + 1}/{self.params['epochs']}", total=self.params.get("steps")
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar."""
        if self.progress is not None:
            self.progress.update(self.task, completed=batch + 1)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the bar of the validation, whose number of steps Keras does not tell."""
        if self.progress is not None:
            self.validation = self.progress.add_task("validation", total=None)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar of the validation."""
        if self.progress is not None:
            self.progress.update(self.validation, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the epoch's line."""
        self.on_train_end()
        logs = logs or {}
        shown = {"loss": "loss", "val_recall@10": "recall@10", "val_ndcg@10": "ndcg@10"}
        numbers = [f"{label} {logs[name]:.4f}" for name, label in shown.items() if name in logs]
        if "keep_rate" in logs:
            rates = "/".join(f"{logs[f'{name}_rate']:.0%}" for name in ("keep", "delete", "insert"))
            numbers.append(f"keep/delete/insert {rates}")
        seconds = time.perf_counter() - self.started
        line = f"{self.title} epoch {epoch + 1}/{self.params['epochs']}  {'  '.join(numbers)}  {seconds:.1f} s"
        self.console.print(line)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take the bar away, also after an interruption."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
