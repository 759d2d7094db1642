"""Output to the terminal: lines and tables, progress bars, and warnings of this package in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
from rich.text import Text

from laclrec_tf.errors import LACLRecWarning


def terminal(stderr: bool = False) -> Console:
    """Return a console that prints text unchanged.

    By default Rich interprets `b[/b]` as markup and `:cat:` as an emoji, which item ids and paths may contain. It also
    breaks lines at 80 columns if there is no terminal, although programs read the lines.

    Args:
        stderr: whether to write to standard error. Default: False, standard output.

    Example:
        >>> terminal().print("wrote a[red]x")
        wrote a[red]x
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def progress_bar(console: Console | None = None, disable: bool = False) -> Progress:
    """Return a progress bar with counts and the remaining time. It is shown only in a terminal.

    Args:
        console: console to show it on. Default: standard error.
        disable: whether to show nothing. Default: False.
    """
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
    """Show a spinner with the elapsed time while the block runs. It is shown only in a terminal.

    Args:
        title: description of the work.
        console: console to show it on. Default: standard error.
        disable: whether to show nothing. Default: False.
    """
    console = console or terminal(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=disable or not console.is_terminal) as progress:
        progress.add_task(title, total=None)
        yield


@contextmanager
def readable_warnings(console: Console, disable: bool = False) -> Iterator[None]:
    """Print warnings of this package as one yellow line while the block runs. Other warnings are shown as before.

    Args:
        console: console to print to, above any progress bar on it.
        disable: whether to show all warnings as before. Default: False.
    """
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, LACLRecWarning) and not disable:
            console.print(Text(f"warning: {message}", style="bold yellow"))
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
