"""A folder that is made for a result, and taken away again when there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from laclrec_tf.errors import InputError, reason_of


@contextmanager
def new_folder(folder: Path, worth_keeping: Callable[[Path], bool]) -> Iterator[None]:
    """Make a folder for the block that writes into it.

    Args:
        folder: missing, or empty; its parents are made too.
        worth_keeping: asked when the block fails, by an error or an interruption: False takes the folder away, and
            its parents if they were made.

    Raises:
        InputError: the folder cannot be made, or the block could not write (`OSError`).

    Example:
        >>> with new_folder(Path("run"), lambda folder: False):  # doctest: +SKIP
        ...     Path("run/log.txt").write_text("begun")
    """
    made: list[Path] = []
    try:
        made = [each for each in (folder, *folder.parents) if not each.exists()]  # innermost first
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        kept = folder.is_dir() and worth_keeping(folder)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
            if folder not in made:
                folder.mkdir(exist_ok=True)
            for parent in made[1:]:
                with suppress(OSError):  # somebody else may have put something there
                    parent.rmdir()
        if isinstance(error, OSError):
            where = error.filename or folder
            text = f"Cannot write {where}: {reason_of(error)}. Choose a folder that can be written."
            raise InputError(f"{text} What was done so far is in {folder}." if kept else text) from error
        raise
