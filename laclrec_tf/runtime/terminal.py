"""Output to the terminal: lines and tables, progress bars, and warnings of this package in one line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

from laclrec_tf.errors import LACLRecWarning

# Control characters of ASCII and Latin-1, line and paragraph separators, marks that reorder text, and surrogates.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str, keep: str = "") -> str:
    r"""Write the characters that a terminal executes, or that end a line, as Python writes them in a string.

    Item ids, file names and requests may contain them. Printed unchanged, they could delete or imitate other lines.

    Args:
        text: the text.
        keep: characters that are not changed. Default: none.

    Example:
        >>> print(escape_controls("a\x1b[2Jb\nc\u2028d"))
        a\x1b[2Jb\nc\u2028d
    """
    return CONTROLS.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode("ascii"), text
    )


def terminal(stderr: bool = False) -> Console:
    """Return a console that prints text unchanged, except for control characters, see `escape_controls`.

    By default Rich interprets `b[/b]` as markup and `:cat:` as an emoji, which item ids and paths may contain. It also
    breaks lines at 80 columns if there is no terminal, although programs read the lines.

    Args:
        stderr: whether to write to standard error. Default: False, standard output.

    Example:
        >>> terminal().print("wrote a[red]x")
        wrote a[red]x
    """
    return _EscapingConsole(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


class _EscapingConsole(Console):
    """Escapes control characters in strings, and all but line breaks in objects of Rich."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Turn a string, also one in a table, into Rich's text."""
        return super().render_str(escape_controls(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Turn an object into pieces of text with a style."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(escape_controls(piece.text, keep="\n"), piece.style)


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
            console.print(Text(escape_controls(f"warning: {message}"), style="bold yellow"))
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
