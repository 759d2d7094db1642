"""How much memory a process holds, now and over time."""

from __future__ import annotations

import platform
from pathlib import Path

from laclrec_tf.runtime.processes import Repetition


# FOLDED: What a measurement was made on.
def processor_name() -> str:
    """Return the number of processors and what they are called, such as "2 x Some CPU @ 2.50GHz".

    Example:
        >>> isinstance(processor_name(), str)
        True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "an unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


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
        notes: `(seconds since the start, megabytes)`, the first at the start, the last at the end.
    """

    def __init__(self, pid: int | None, every: float = 1.0) -> None:
        self.pid = pid
        self.notes: list[tuple[float, float]] = []
        self._repetition = Repetition(self._note, every, name="memory-watch")

    def __enter__(self) -> MemoryWatch:
        """Make the first note."""
        self._repetition.__enter__()
        self._note()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and make the last note."""
        self._repetition.__exit__()
        self._note()

    def _note(self) -> bool:
        size = None if self.pid is None else resident_megabytes(self.pid)
        if size is not None:
            self.notes.append((self._repetition.elapsed(), size))
        return True
