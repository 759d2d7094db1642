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
