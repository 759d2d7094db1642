"""Checkpoints of a training on disk: atomic, checksummed, the last few kept."""

from __future__ import annotations

import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.errors import InputError, LACLRecWarning

FORMAT_VERSION = 2
KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{6,})\.npz")
_ABOUT = "about"
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


class CheckpointWarning(LACLRecWarning):
    """A checkpoint could not be written, or could not be read and an older one is taken."""


@dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on as if it had never stopped.

    Args:
        about: what JSON can hold: where the training stands, and what its callbacks remember.
        arrays: the values of every variable, by any name but "about".
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class TrainingCheckpoints:
    """A folder of checkpoints, `checkpoint-000001.npz` and so on, each with a CRC-32 of every array.

    Args:
        folder: where they lie; made when the first one is written. `/gcs/BUCKET/...` will do on Vertex AI.
        kept: how many stay, at least 1. Default: 2.

    Example:
        >>> checkpoints = TrainingCheckpoints(Path("run/checkpoints"))  # doctest: +SKIP
        >>> checkpoints.write(TrainingState({"epoch": 3}, {"table": np.zeros(2)}))  # doctest: +SKIP
        True
        >>> checkpoints.newest().about["epoch"]  # doctest: +SKIP
        3
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self.kept = kept

    def write(self, state: TrainingState) -> bool:
        """Write one more checkpoint, and remove the oldest ones.

        It is written beside, through to the disk, and renamed: killed at any moment, this leaves the others whole.

        Args:
            state: what to keep.

        Returns:
            Whether it was written; if not, a warning says why, and those before it are still there.
        """
        number = max(self._numbers(), default=0) + 1
        file = self._file(number)
        partial = file.with_suffix(".partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as out:
                shapes = {name: list(array.shape) for name, array in state.arrays.items()}
                about = json.dumps({**state.about, "format_version": FORMAT_VERSION, "shapes": shapes}).encode()
                np.savez(out, allow_pickle=False, **{_ABOUT: np.frombuffer(about, np.uint8)}, **state.arrays)
                out.flush()
                os.fsync(out.fileno())
            partial.rename(file)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            warnings.warn(
                f"Cannot write the checkpoint {file}: {error.strerror or error}. Training goes on; make room there. "
                f"The last good one: {self._file(number - 1) if number > 1 else 'none'}.",
                CheckpointWarning,
                stacklevel=2,
            )
            return False
        for old in sorted(self._numbers())[: -self.kept]:
            with suppress(OSError):
                self._file(old).unlink()
        return True

    def newest(self) -> TrainingState | None:
        """Read the newest checkpoint that is whole.

        Returns:
            The state, or None if there is no checkpoint. A damaged one is skipped with a warning.

        Raises:
            InputError: there are checkpoints, but none is whole.
        """
        numbers = sorted(self._numbers(), reverse=True)
        for number in numbers:
            try:
                return _read(self._file(number))
            except DAMAGE as error:
                warnings.warn(
                    f"The checkpoint {self._file(number)} is damaged ({' '.join(str(error).split())}) and is skipped.",
                    CheckpointWarning,
                    stacklevel=2,
                )
        if numbers:
            raise InputError(f"No checkpoint in {self.folder} is whole. Delete that folder to train anew.")
        return None

    def remove(self) -> None:
        """Remove all of them, and the folder if nothing else is in it."""
        for file in [*self.folder.glob("checkpoint-*.npz"), *self.folder.glob("checkpoint-*.partial")]:
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def __bool__(self) -> bool:
        """Whether there is a checkpoint, whole or not."""
        return bool(self._numbers())

    def _numbers(self) -> list[int]:
        names = [_NAME.fullmatch(file.name) for file in self.folder.glob("checkpoint-*.npz")]
        return [int(name.group(1)) for name in names if name]

    def _file(self, number: int) -> Path:
        return self.folder / f"checkpoint-{number:06d}.npz"


def _read(file: Path) -> TrainingState:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}  # reading checks the sums
    about = json.loads(arrays.pop(_ABOUT).tobytes())
    if about.pop("format_version") != FORMAT_VERSION:
        raise ValueError(f"of another format version than {FORMAT_VERSION}")
    if about.pop("shapes") != {name: list(array.shape) for name, array in arrays.items()}:
        raise ValueError("an array is missing")  # a damaged directory of the archive hides some
    return TrainingState(about, arrays)
