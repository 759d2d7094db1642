"""Write files and folders so that a failure leaves nothing half-written, and lock them against other processes."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from laclrec_tf.errors import InputError, reason_of


@contextmanager
def atomic_write(file: str | Path) -> Iterator[Path]:
    """Write a file that readers see either whole or not at all.

    The block writes to a partial file in the same folder, `.NAME.partial-RANDOM`. After the block its content is
    flushed to the disk and it is renamed to `file`, with the permissions of the file it replaces. If the block fails
    or is interrupted, the partial file is deleted and `file` stays as it was. Only a killed process leaves one behind.

    Args:
        file: the file to write. A symbolic link is kept, and its target is written. A pipe or a device has no partial
            file: the block writes to it directly.

    Yields:
        The path to write to.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder) / "report.txt") as partial:
        ...         _ = partial.write_text("recall@10 0.1")
        ...     (Path(folder) / "report.txt").read_text()
        'recall@10 0.1'
    """
    target = Path(os.path.realpath(file))
    if target.exists() and not target.is_file():
        yield target
        return
    partial = _partial(target)
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink()


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")


def delete_partial_files(folder: Path, pattern: str) -> None:
    """Delete the partial files that killed processes left.

    Args:
        folder: the folder of the files. No other process may be writing there.
        pattern: glob pattern of the files' names, e.g. "checkpoint-*.npz".
    """
    for partial in folder.glob(f".{pattern}.partial-*"):
        partial.unlink(missing_ok=True)


class ReportFile:
    """A file for the result of long work, checked in advance: that it can be written is known before the work starts.

    Args:
        file: the file to write. Its folder must exist; an existing file will be replaced.

    Raises:
        InputError: the file cannot be written.

    Example:
        >>> ReportFile("no/x")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Cannot write no/x: its folder does not exist. Name a file that can be written.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        target = Path(os.path.realpath(self.file))
        try:
            if target.exists():
                with target.open("ab"):
                    pass
            if target.is_file() or not target.exists():
                trial = _partial(target)
                trial.touch()
                trial.unlink()
        except OSError as error:
            raise self._not_writable(error) from None

    def write(self, content: bytes) -> None:
        """Write the whole file with `atomic_write`.

        Args:
            content: the bytes of the file.

        Raises:
            InputError: the file cannot be written after all, e.g. because the disk is full.
        """
        try:
            with atomic_write(self.file) as partial:
                partial.write_bytes(content)
        except OSError as error:
            raise self._not_writable(error) from None

    def write_json(self, report: Any) -> None:
        """Write the report as indented JSON, see `write`."""
        self.write((json.dumps(report, indent=2) + "\n").encode())

    def _not_writable(self, error: OSError) -> InputError:
        reason = "its folder does not exist" if isinstance(error, FileNotFoundError) else reason_of(error)
        return InputError(f"Cannot write {self.file}: {reason}. Name a file that can be written.")


@contextmanager
def file_lock(file: Path, busy: str) -> Iterator[None]:
    """Hold a lock on a file while the block runs. The operating system releases the lock of a killed process.

    Args:
        file: the lock file; created if it is missing, and kept afterwards. Its content stays as it is, and a symbolic
            link is refused.
        busy: the message of the error if another process holds the lock.

    Raises:
        InputError: another process holds the lock, or the file is a symbolic link.
        OSError: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with file_lock(Path(folder) / ".lock", busy="Another process writes here. Wait for it."):
        ...         (Path(folder) / ".lock").exists()
        True
    """
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(busy) from None
    except OSError as error:
        raise _not_opened(file, error) from error
    try:
        yield
    finally:
        lock.release()


def append_line(file: Path, line: str) -> None:
    """Append a line to a record that several processes may keep, and wait until it is on the disk.

    Args:
        file: the record; created if it is missing. A last line that a full disk cut short is ended first.
        line: the text, without a line break.

    Raises:
        InputError: the file is a symbolic link, which could lead to a file of another owner, or no regular file.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     append_line(Path(folder) / "record", "pushed 1")
        ...     (Path(folder) / "record").read_text()
        'pushed 1\\n'
    """
    try:
        # O_NONBLOCK: to open a pipe must not wait for its other end.
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise _not_opened(file, error) from error
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{file} is not a regular file. Delete it, then try again.")
        is_cut = about.st_size > 0 and os.pread(descriptor, 1, about.st_size - 1) != b"\n"
        content = ("\n" * is_cut + line + "\n").encode()
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_opened(file: Path, error: OSError) -> Exception:
    if error.errno == errno.ELOOP:
        return InputError(f"{file} is a symbolic link, which is not followed. Delete the link, then try again.")
    return error


@contextmanager
def new_folder(folder: Path, worth_keeping: Callable[[Path], bool]) -> Iterator[None]:
    """Create a folder for the block that writes into it, and clean up if the block fails.

    Args:
        folder: the folder; created with its parents if it is missing. Its earlier content is never deleted.
        worth_keeping: called with the folder if the block fails or is interrupted. If it returns False, the new
            content is deleted, and so are the folder and its parents if they were created.

    Raises:
        InputError: the folder cannot be created, or the block failed with an `OSError`.

    Example:
        >>> with new_folder(Path("run"), lambda folder: False):  # doctest: +SKIP
        ...     Path("run/log.txt").write_text("started")
    """
    created: list[Path] = []
    before: set[Path] = set()
    try:
        created = [each for each in (folder, *folder.parents) if not each.exists()]  # innermost first
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
            for each in created:
                with suppress(OSError):  # another process may have written into it
                    each.rmdir()
        if isinstance(error, OSError):
            where = error.filename or folder
            text = f"Cannot write {where}: {reason_of(error)}. Choose a folder that can be written."
            raise InputError(f"{text} The results so far are in {folder}." if kept else text) from error
        raise


def copy_whole(folder: Path, to: Path, last: str) -> Path:
    """Copy the files of a folder, and the file that marks it as complete last.

    Use it for mounted buckets, where a folder cannot be renamed.

    Args:
        folder: the folder to copy.
        to: the destination; created with its parents. Files of the same name are replaced.
        last: name of the file in `folder` whose presence means that the folder is complete, e.g. "run.json".

    Returns:
        `to`.

    Raises:
        InputError: the destination cannot be written.

    Example:
        >>> copy_whole(Path("run"), Path("/gcs/shop/run"), last="run.json")  # doctest: +SKIP
        PosixPath('/gcs/shop/run')
    """

    def postponed(inside: str, _: list[str]) -> list[str]:
        return [last] if Path(inside) == folder else []

    try:
        # Contents only: a bucket stores no times and permissions.
        shutil.copytree(folder, to, dirs_exist_ok=True, ignore=postponed, copy_function=shutil.copyfile)
        shutil.copyfile(folder / last, to / last)
    except OSError as error:
        raise InputError(
            f"Cannot write {to}: {reason_of(error)}. Check the disk or the bucket, and its write permissions."
        ) from error
    return to
