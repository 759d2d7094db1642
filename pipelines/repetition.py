"""Something done again and again beside the work under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Repetition:
    """Calls a function every so often in a thread of its own, from entering the context until leaving it.

    Args:
        act: what to call; it says whether to go on.
        every: seconds from the start to the first call, and from the end of a call to the next. None: none is made.
        name: the thread's name.

    Example:
        >>> with Repetition(lambda: False, every=None, name="nothing") as repetition:
        ...     repetition.elapsed() < 60
        True
    """

    def __init__(self, act: Callable[[], bool], every: float | None, name: str) -> None:
        self._act = act
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def __enter__(self) -> Repetition:
        """Begin."""
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after the call that is under way."""
        self._stop.set()
        self._thread.join()

    def elapsed(self) -> float:
        """Return the seconds since the start, to a hundredth."""
        return round(time.monotonic() - self._began, 2)

    def _repeat(self) -> None:
        while self._every is not None and not self._stop.wait(self._every):
            if not self._act():
                return
