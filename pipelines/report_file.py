"""A file for a report: whether it can be written is known before the work, not after."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError, reason_of


class ReportFile:
    """A file that a command will write its result to, tried out at once; nothing is left of the trial.

    Args:
        file: where to write. Its folder exists; a file that is there already will be replaced.

    Raises:
        InputError: the file cannot be written.

    Example:
        >>> ReportFile("no/x")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Cannot write no/x: its folder does not exist. Name a file that can be written.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        try:
            target = Path(os.path.realpath(self.file))  # a link stays, what it names is tried
            is_new = not target.exists()
            with target.open("ab"):
                pass
            if is_new:
                target.unlink()
        except OSError as error:
            raise self._not_writable(error) from None

    def write(self, content: bytes) -> None:
        """Write the report; a file that was there before is replaced when all is written.

        Args:
            content: the whole file.

        Raises:
            InputError: it could not be written after all, the disk is full for one.
        """
        target = Path(os.path.realpath(self.file))
        if target.exists() and not target.is_file():  # a pipe or a device takes what comes
            partial = target
        else:
            partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        try:
            partial.write_bytes(content)
            if partial != target:
                partial.replace(target)
        except OSError as error:
            if partial != target:
                partial.unlink(missing_ok=True)
            raise self._not_writable(error) from None

    def write_json(self, report: Any) -> None:
        """Write the report as indented JSON, see `write`."""
        self.write((json.dumps(report, indent=2) + "\n").encode())

    def _not_writable(self, error: OSError) -> InputError:
        reason = "its folder does not exist" if isinstance(error, FileNotFoundError) else reason_of(error)
        return InputError(f"Cannot write {self.file}: {reason}. Name a file that can be written.")
