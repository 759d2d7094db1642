"""How a training keeps its state on disk, and whether it goes on from there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from laclrec_tf.errors import InputError
from pipelines.training_checkpoints import KEPT

MINUTES = 10.0


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written, where to, and how many stay.

    Args:
        minutes: between two checkpoints; 0 writes one after every step. Default: 10.
        kept: how many stay. Default: 2.
        folder: where they lie. Default: None, `checkpoints` in the run folder.
        resume: go on from the newest one; begin anew if there is none. Default: False.

    Raises:
        InputError: `minutes` is below 0, `kept` below 1, or `folder` is a file.

    Example:
        >>> CheckpointSettings(minutes=5).folder_for(Path("run")).as_posix()
        'run/checkpoints'
    """

    minutes: float = MINUTES
    kept: int = KEPT
    folder: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minutes) and self.minutes >= 0):
            raise InputError(f"Argument `minutes` must be 0 or above. Received: {self.minutes}.")
        if self.kept < 1:
            raise InputError(f"Argument `kept` must be at least 1 checkpoint. Received: {self.kept}.")
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"Checkpoints need a folder, and {self.folder} is a file. Choose another place.")

    def folder_for(self, run: Path) -> Path:
        """Return where the checkpoints of a run lie."""
        return self.folder or run / "checkpoints"
