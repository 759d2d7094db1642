"""One push at a time: a lock on a model's folder, which goes with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from laclrec_tf.errors import InputError

LOCK_FILE = ".push.lock"


@contextmanager
def push_lock(model: Path) -> Iterator[None]:
    """Hold the model's folder for the block.

    Args:
        model: the model's folder; it exists.

    Raises:
        InputError: another process holds it.
        OSError: the folder cannot be written.
    """
    file = model / LOCK_FILE
    while True:
        with file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"Another process pushes to {model}. Wait for it, then try again.") from None
            if not _is_at(lock.fileno(), file):
                continue  # the holder before removed this file after we had opened it
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
