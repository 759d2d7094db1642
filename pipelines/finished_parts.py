"""A table written in parts that outlive a killed process, and put together when all are there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from laclrec_tf.errors import InputError, reason_of

ABOUT_FILE = "about.json"


@contextmanager
def parts_folder(out: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """Hold the folder of the parts of a table, `OUT.parts`, made if it is missing.

    Args:
        out: the table's file.
        about: what the parts are made of; parts of something else are not gone on with.

    Yields:
        The folder.

    Raises:
        InputError: `out` exists, the parts there are of something else, or another process works on them.
    """
    if out.exists():
        raise InputError(f"{out} exists. Give another --out, or delete it first.")
    folder = out.with_name(f"{out.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process writes {out}. Wait for it, or give another --out.") from None
        _check_about(folder, out, dict(about))
        yield folder


def missing_parts(folder: Path, n_parts: int) -> list[int]:
    """List the parts that are not yet written.

    Args:
        folder: of `parts_folder`.
        n_parts: how many there will be.
    """
    return [part for part in range(n_parts) if not part_file(folder, part).exists()]


def part_file(folder: Path, part: int) -> Path:
    """Name the file of a part."""
    return folder / f"part-{part:05d}.parquet"


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place and put there when it is on the disk.

    Args:
        file: the file.
        write: writes to the path that it is given.

    Raises:
        InputError: it cannot be written; nothing is left of it.
    """
    partial = file.with_name(f"{file.name}.partial-{os.getpid()}")
    try:
        write(partial)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.rename(file)
    except (OSError, pl.exceptions.PolarsError) as error:  # polars has errors of its own for a full disk
        reason = reason_of(error) if isinstance(error, OSError) else str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"Cannot write {file}: {reason}. Make room or mend the disk, then run the same command again to go on."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def join_parts(folder: Path, n_parts: int, out: Path) -> None:
    """Put the parts together, in order, and take their folder away.

    Args:
        folder: of `parts_folder`; all parts are there.
        n_parts: how many.
        out: the Parquet file to make.

    Raises:
        InputError: a part is damaged; it is taken away, so that the next run makes it again. Or see `write_whole`.
    """
    parts = [part_file(folder, part) for part in range(n_parts)]
    try:
        write_whole(out, lambda file: pl.scan_parquet(parts, glob=False).sink_parquet(file))
    except (InputError, pl.exceptions.PanicException):
        _take_damaged_away(parts)
        raise  # no part is to blame
    shutil.rmtree(folder)


def _take_damaged_away(parts: Sequence[Path]) -> None:
    damaged = [part for part in parts if not _is_readable(part)]
    for part in damaged:
        part.unlink()
    if damaged:
        others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{others} was damaged and is deleted. Run the same command again to go on.")


def _is_readable(part: Path) -> bool:
    try:
        pl.read_parquet(part, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True


def _check_about(folder: Path, out: Path, about: dict[str, Any]) -> None:
    file = folder / ABOUT_FILE
    text = json.dumps(about, indent=2) + "\n"
    if not file.exists():
        write_whole(file, lambda path: path.write_text(text, encoding="utf-8"))
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        before = {}
    differing = [name for name, value in about.items() if before.get(name) != value] if before != about else []
    if differing:
        raise InputError(
            f"{folder} holds parts of {out} that were made with another {' and another '.join(differing)}. "
            "Delete the folder to begin anew, or give another --out."
        )
