"""Our own warnings as one line in the terminal, in place of a file, a line number and a piece of code."""

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
    """Return a console that takes no text for its own commands.

    Rich reads `b[/b]` as a mark and `:cat:` as a picture, and breaks lines at 80 columns where there is no terminal;
    item ids and paths may hold the first two, and programs read the lines.

    Args:
        stderr: write to standard error. Default: False, standard output.

    Example:
        >>> terminal().print("wrote a[red]x")
        wrote a[red]x
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


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


@contextmanager
def readable_warnings(console: Console, disable: bool = False) -> Iterator[None]:
    """Print our warnings in yellow while the block runs; all others go where they went before.

    Args:
        console: where to, above a progress bar that is shown there.
        disable: let ours go where all others go, too. Default: False.
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
