"""Looking at the version folders again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class VersionWatcher:
    """Calls a function every few seconds, in a thread of its own, whatever becomes of it.

    Args:
        refresh: what to call.
        poll_seconds: seconds between two calls. 0: it is never called.

    Example:
        >>> with VersionWatcher(print, poll_seconds=0):
        ...     pass
    """

    def __init__(self, refresh: Callable[[], None], poll_seconds: float) -> None:
        """Keep both; `start` begins."""
        self._refresh = refresh
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to call."""
        if self._poll_seconds > 0:
            self._thread = threading.Thread(target=self._watch, name="version-watcher", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Call no more; a call that is running is waited for."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> VersionWatcher:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._refresh()
            except Exception:
                logger.exception("looking for versions failed; the next look is in %s s", self._poll_seconds)
