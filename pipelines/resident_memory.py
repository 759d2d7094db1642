"""How much memory a process holds, now and over time."""

from __future__ import annotations

import threading
import time
from pathlib import Path


def resident_megabytes(pid: int) -> float | None:
    """Return the resident memory of a process of this machine in megabytes (10^6 bytes).

    Args:
        pid: the process's number.

    Returns:
        None when the process is gone, or the system has no `/proc`.

    Example:
        >>> import os
        >>> resident_megabytes(os.getpid()) is None or resident_megabytes(os.getpid()) > 1
        True
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("VmRSS:")]  # in units of 1024 bytes
    return round(int(sizes[0]) * 1024 / 1e6, 1) if sizes else None


class MemoryWatch:
    """Notes a process's resident memory until it is told to stop.

    Args:
        pid: the process; None notes nothing.
        every: seconds between two notes. Default: 1.

    Attributes:
        notes: `(seconds since the start, megabytes)`, the first one at the start.
    """

    def __init__(self, pid: int | None, every: float = 1.0) -> None:
        self.pid = pid
        self.every = every
        self.notes: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        """Begin."""
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Make the last note and stop."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            stopped = self._stop.is_set()
            size = None if self.pid is None else resident_megabytes(self.pid)
            if size is not None:
                self.notes.append((round(time.monotonic() - self._began, 2), size))
            if stopped:
                return
            self._stop.wait(self.every)
