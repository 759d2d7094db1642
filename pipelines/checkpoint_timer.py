"""When the next checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable


class CheckpointTimer:
    """Counts the minutes since the last checkpoint, over all parts of a training.

    Args:
        minutes: between two checkpoints; with 0 one is always due.
        clock: seconds. Default: `time.monotonic`.

    Example:
        >>> CheckpointTimer(0).is_due, CheckpointTimer(10).is_due
        (True, False)
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.minutes = minutes
        self.clock = clock
        self.restart()

    @property
    def is_due(self) -> bool:
        """Whether the minutes have passed."""
        return self.clock() - self._since >= 60 * self.minutes

    def restart(self) -> None:
        """Count from now."""
        self._since = self.clock()
