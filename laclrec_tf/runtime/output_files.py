"""A file for a report: whether it can be written is known before the work, not after."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError, reason_of


@contextmanager
def new_folder(folder: Path, worth_keeping: Callable[[Path], bool]) -> Iterator[None]:
    """Make a folder for the block that writes into it.

    Args:
        folder: where the block writes; made if it is missing, with its parents. What was in it before stays there.
        worth_keeping: asked when the block fails, by an error or an interruption: False takes away what is new in the
            folder, and the folder and its parents if they were made.

    Raises:
        InputError: the folder cannot be made, or the block could not write (`OSError`).

    Example:
        >>> with new_folder(Path("run"), lambda folder: False):  # doctest: +SKIP
        ...     Path("run/log.txt").write_text("begun")
    """
    made: list[Path] = []
    before: set[Path] = set()
    try:
        made = [each for each in (folder, *folder.parents) if not each.exists()]  # innermost first
        folder.mkdir(parents=True, exist_ok=True)
        before = set(folder.iterdir())
        yield
    except BaseException as error:
        kept = folder.is_dir() and worth_keeping(folder)
        if not kept:
            for new in set(folder.iterdir()) - before if folder.is_dir() else ():
                if new.is_dir() and not new.is_symlink():
                    shutil.rmtree(new, ignore_errors=True)
                else:
                    new.unlink(missing_ok=True)
            for each in made:
                with suppress(OSError):  # somebody else may have put something there
                    each.rmdir()
        if isinstance(error, OSError):
            where = error.filename or folder
            text = f"Cannot write {where}: {reason_of(error)}. Choose a folder that can be written."
            raise InputError(f"{text} What was done so far is in {folder}." if kept else text) from error
        raise


def copy_whole(folder: Path, to: Path, last: str) -> Path:
    """Copy a folder's files, and the one without which it is none at the end.

    For mounted buckets, which cannot rename a folder into place.

    Args:
        folder: what to copy.
        to: where; made with its parents, files of the same name are replaced.
        last: the file in `folder` that readers look for, such as "run.json".

    Returns:
        `to`.

    Raises:
        InputError: it cannot be written.

    Example:
        >>> copy_whole(Path("run"), Path("/gcs/shop/run"), last="run.json")  # doctest: +SKIP
        PosixPath('/gcs/shop/run')
    """

    def left_for_later(inside: str, _: list[str]) -> list[str]:
        return [last] if Path(inside) == folder else []

    try:
        # Contents only: a bucket keeps no times and permissions.
        shutil.copytree(folder, to, dirs_exist_ok=True, ignore=left_for_later, copy_function=shutil.copyfile)
        shutil.copyfile(folder / last, to / last)
    except OSError as error:
        raise InputError(
            f"Cannot write {to}: {reason_of(error)}. Check the disk or the bucket, and who may write there."
        ) from error
    return to


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
