"""The terminal as the commands write to it: what users named comes out as they named it, on lines left whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
