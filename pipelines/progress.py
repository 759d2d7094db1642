"""The progress of a training in the terminal: a bar of its steps and a row for each finished epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import keras
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from laclrec_tf.runtime.terminal import terminal
from pipelines.epoch_table import EpochTable


class EpochProgress(keras.callbacks.Callback):
    """Show what each epoch has come to so far over a bar of its steps and of its validation, and leave a row of it.

    Where there is no terminal each epoch leaves a line that names its numbers.

    Args:
        title: what is being trained.
        console: where to print. Default: standard error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        super().__init__()
        self.title = title
        self.console = console or terminal(stderr=True)
        self.progress: _BarBelowRow | None = None
        self.table = EpochTable(self.console.width)
        self._has_header = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the bar."""
        self.started = time.perf_counter()
        self.epoch = epoch
        self.progress = _BarBelowRow(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.progress.start()
        self.task = self.progress.add_task(f"{self.title} {self._label}", total=self.params.get("steps"))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar, and show the running averages above it."""
        if self.progress is not None:
            if self.console.is_terminal:
                self.progress.row = self.table.row(self._label, logs or {}, self._seconds, is_done=False)
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
        """Print the epoch's row."""
        self.on_train_end()
        logs = logs or {}
        if not self.console.is_terminal:
            self.console.print(self._line(epoch, logs))
            return
        if not self._has_header:
            self.console.print(Text(self.title, style="bold"))
            self.console.print(self.table.header(logs))
            self._has_header = True
        self.console.print(self.table.row(self._label, logs, self._seconds))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take the bar away, also after an interruption."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    @property
    def _label(self) -> str:
        return f"{self.epoch + 1}/{self.params['epochs']}"

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def _line(self, epoch: int, logs: dict[str, Any]) -> str:
        shown = {"loss": "loss", "val_recall@10": "recall@10", "val_ndcg@10": "ndcg@10"}
        numbers = [f"{label} {logs[name]:.4f}" for name, label in shown.items() if name in logs]
        if "keep_rate" in logs:
            rates = "/".join(f"{logs[f'{name}_rate']:.0%}" for name in ("keep", "delete", "insert"))
            numbers.append(f"keep/delete/insert {rates}")
        return f"{self.title} epoch {epoch + 1}/{self.params['epochs']}  {'  '.join(numbers)}  {self._seconds:.1f} s"


class _BarBelowRow(Progress):
    """A bar with a row of the epoch table above it."""

    row: Text | None = None

    def get_renderables(self) -> Iterator[RenderableType]:
        if self.row is not None:
            yield self.row
        yield self.make_tasks_table(self.tasks)
