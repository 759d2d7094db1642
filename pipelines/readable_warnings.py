"""Our own warnings as one line in the terminal, in place of a file, a line number and a piece of code."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from laclrec_tf.errors import LACLRecWarning


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
