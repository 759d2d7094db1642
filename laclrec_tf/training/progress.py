"""The progress of a training in the terminal: a bar for its steps and a row for each finished epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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

LABEL_WIDTH = 9


class EpochProgress(keras.callbacks.Callback):
    """Show each epoch's running means above a bar for its steps and its validation, then print its row.

    If the console is not a terminal, only a line with named numbers is printed for each epoch.

    Args:
        title: name of what is trained.
        console: console to print to. Default: standard error.
        note: a line to print above the first row. Default: "", none.
    """

    def __init__(self, title: str, console: Console | None = None, *, note: str = "") -> None:
        super().__init__()
        self.title, self.note = title, note
        self.console = console or terminal(stderr=True)
        self.progress: _BarBelowRow | None = None
        self.table = EpochTable(self.console.width)
        self._has_header = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the bar for the steps."""
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
        """Advance the bar, and show the running means above it."""
        if self.progress is not None:
            if self.console.is_terminal:
                self.progress.row = self.table.row(self._label, logs or {}, self._seconds, is_done=False)
            self.progress.update(self.task, completed=batch + 1)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the bar for the validation, whose number of steps Keras does not report."""
        if self.progress is not None:
            self.validation = self.progress.add_task("validation", total=None)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance the bar for the validation."""
        if self.progress is not None:
            self.progress.update(self.validation, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the epoch's row."""
        self.on_train_end()
        logs = logs or {}
        if self.note:
            self.console.print(self.note)
            self.note = ""
        if not self.console.is_terminal:
            self.console.print(self._line(epoch, logs))
            return
        if not self._has_header:
            self.console.print(Text(self.title, style="bold"))
            self.console.print(self.table.header(logs))
            self._has_header = True
        self.console.print(self.table.row(self._label, logs, self._seconds))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Remove the bar, also after an interruption."""
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


class EpochTable:
    """Formats epochs as rows of a table.

    Args:
        width: width of the terminal.

    Example:
        >>> table = EpochTable(width=80)
        >>> print(table.header({"loss": 1.0}))
          epoch      loss    time
        >>> print(table.row("1/9", {"loss": 1.0}, seconds=2.5))
            1/9    1.0000   2.5 s
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.best: float | None = None
        self.columns: list[Column] = []

    def header(self, logs: Mapping[str, float]) -> Text:
        """Choose the columns for an epoch's logs, and return their titles."""
        self.columns = self._columns(logs)
        titles = "".join(f"{column.title:>{column.width + 1}}" for column in self.columns)
        return Text(f"{'epoch':>{LABEL_WIDTH - 2}} {titles}{'time':>8}", style="bold", no_wrap=True, overflow="crop")

    def row(self, label: str, logs: Mapping[str, Any], seconds: float, is_done: bool = True) -> Text:
        """Return an epoch's row. The best ndcg@10 so far is green, a collapsed augmenter's operations are red.

        Args:
            label: label of the epoch.
            logs: logs of the epoch so far.
            seconds: duration of the epoch so far.
            is_done: whether the row is final. Default: True.
        """
        text = Text(f"{label:>{LABEL_WIDTH - 2}} ", no_wrap=True, overflow="crop")
        for column in self.columns or self._columns(logs):
            text.append(f"{column.text(logs) or '':>{column.width + 1}}", style=self._style(column, logs, is_done))
        text.append(f"{seconds:.1f} s".rjust(8))
        return text

    def _columns(self, logs: Mapping[str, float]) -> list[Column]:
        space = self.width - LABEL_WIDTH - 8
        columns = []
        for column in COLUMNS:
            if column.text(logs) is None:
                continue
            space -= column.width + 1
            if space < 0:
                break
            columns.append(column)
        return columns

    def _style(self, column: Column, logs: Mapping[str, float], is_done: bool) -> str:
        if column.title == "ndcg@10" and is_done:
            value = logs["val_ndcg@10"]
            if self.best is None or value > self.best:
                self.best = value
                return "bold green"
        return "bold red" if column.title.startswith("keep") and logs.get("augmenter_collapsed") else ""


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Args:
        title: title of the column.
        keys: names of its values in the logs. Of alternative names, the first one in the logs is used: that of the
            validation, then that of the training.
        show: function that formats the values.
        width: width of the column.
    """

    title: str
    keys: tuple[tuple[str, ...], ...]
    show: Callable[..., str]
    width: int

    def text(self, logs: Mapping[str, float]) -> str | None:
        """Return the text of the cell, None if a value is missing in the logs."""
        found = [next((logs[key] for key in names if key in logs), None) for names in self.keys]
        return None if None in found else self.show(*found)


def _percents(*rates: float) -> str:
    return "/".join("-" if rate != rate else f"{100 * rate:.0f}" for rate in rates)


# Most important first: a narrow terminal has no room for the last ones.
COLUMNS = (
    Column("loss", (("loss",),), "{:.4f}".format, 8),
    Column("recall@10", (("val_recall@10",),), "{:.4f}".format, 10),
    Column("ndcg@10", (("val_ndcg@10",),), "{:.4f}".format, 8),
    Column("keep/del/ins %", (("keep_rate",), ("delete_rate",), ("insert_rate",)), _percents, 15),
    Column(
        "del P/R %",
        (("val_deletion_precision", "deletion_precision"), ("val_deletion_recall", "deletion_recall")),
        _percents,
        10,
    ),
    Column("ins %", (("val_insertion_accuracy", "insertion_accuracy"),), _percents, 6),
    Column("length", (("edited_length",),), "{:.1f}".format, 7),
    Column("nearer %", (("triplet_accuracy",),), _percents, 9),
)
