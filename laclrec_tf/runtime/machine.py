"""The machine and the software that a result was made with: processor, package versions, memory of a process."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from laclrec_tf.runtime.processes import Repetition


def processor_name() -> str:
    """Return the number of processors and their model, e.g. "2 x Some CPU @ 2.50GHz".

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


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that determine a model's numbers, by package, for records.

    Example:
        >>> list(package_versions())
        ['laclrec-tf', 'tensorflow', 'keras']
    """
    return {name: version(name) for name in ("laclrec-tf", "tensorflow", "keras")}


def resident_megabytes(pid: int) -> float | None:
    """Return the resident memory of a process on this machine in megabytes (10^6 bytes).

    Args:
        pid: number of the process.

    Returns:
        None if the process has ended, or the system has no `/proc`.

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
    """Record the resident memory of a process at regular intervals while a block runs.

    Args:
        pid: number of the process. None: nothing is recorded.
        every: seconds between two measurements. Default: 1.

    Attributes:
        notes: list of `(seconds since the start, megabytes)`. The first is from the start, the last from the end.
    """

    def __init__(self, pid: int | None, every: float = 1.0) -> None:
        self.pid = pid
        self.notes: list[tuple[float, float]] = []
        self._repetition = Repetition(self._note, every, name="memory-watch")

    def __enter__(self) -> MemoryWatch:
        """Measure for the first time."""
        self._repetition.__enter__()
        self._note()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and measure for the last time."""
        self._repetition.__exit__()
        self._note()

    def _note(self) -> bool:
        size = None if self.pid is None else resident_megabytes(self.pid)
        if size is not None:
            self.notes.append((self._repetition.elapsed(), size))
        return True
