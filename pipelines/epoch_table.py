"""A compact table of a training's epochs: one row each, below one header, in the columns that the logs fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.text import Text

LABEL_WIDTH = 9


@dataclass(frozen=True)
class Column:
    """A column and what of the logs it shows.

    Args:
        title: at the head.
        keys: names in the logs; of each the first that is there, the validation's before the training's.
        show: makes text of their values.
        width: of the column.
    """

    title: str
    keys: tuple[tuple[str, ...], ...]
    show: Callable[..., str]
    width: int

    def text(self, logs: Mapping[str, float]) -> str | None:
        """Return the cell, None if the logs lack a value."""
        found = [next((logs[key] for key in names if key in logs), None) for names in self.keys]
        return None if None in found else self.show(*found)


def _percents(*rates: float) -> str:
    return "/".join("-" if rate != rate else f"{100 * rate:.0f}" for rate in rates)


# The first are needed most: a narrow terminal leaves the last ones out.
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


class EpochTable:
    """Lays epochs out in columns.

    Args:
        width: of the terminal.

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
        """Choose the columns for what an epoch's logs hold, and return their titles."""
        self.columns = self._columns(logs)
        titles = "".join(f"{column.title:>{column.width + 1}}" for column in self.columns)
        return Text(f"{'epoch':>{LABEL_WIDTH - 2}} {titles}{'time':>8}", style="bold", no_wrap=True, overflow="crop")

    def row(self, label: str, logs: Mapping[str, Any], seconds: float, is_done: bool = True) -> Text:
        """Return an epoch's row: the best ndcg@10 so far is green, a collapsed augmenter's operations are red.

        Args:
            label: which epoch.
            logs: as they are so far.
            seconds: it has taken.
            is_done: the row is final. Default: True.
        """
        text = Text(f"{label:>{LABEL_WIDTH - 2}} ", no_wrap=True, overflow="crop")
        for column in self.columns or self._columns(logs):
            text.append(f"{column.text(logs) or '':>{column.width + 1}}", style=self._style(column, logs, is_done))
        text.append(f"{seconds:.1f} s".rjust(8))
        return text

    def _columns(self, logs: Mapping[str, float]) -> list[Column]:
        left = self.width - LABEL_WIDTH - 8
        columns = []
        for column in COLUMNS:
            if column.text(logs) is None:
                continue
            left -= column.width + 1
            if left < 0:
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
