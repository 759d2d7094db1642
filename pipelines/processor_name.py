"""What a measurement was made on."""

from __future__ import annotations

import platform
from pathlib import Path


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
