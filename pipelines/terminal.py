"""The terminal as the commands write to it: what users named comes out as they named it, on lines left whole."""

from __future__ import annotations

from rich.console import Console


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
