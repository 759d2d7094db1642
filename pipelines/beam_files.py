"""Files on any filesystem that Beam knows: whole small ones, fetched ones, tables of rows, and taking all away."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from laclrec_tf.errors import InputError


def matched(pattern: str) -> list[str]:
    """List the files that fit a path or a pattern such as `gs://bucket/events-*.parquet`, in order.

    Raises:
        InputError: the path's filesystem is unknown or refuses.
    """
    try:
        return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)
    except ValueError:
        raise InputError(
            f"{pattern}: Beam has no filesystem for it here. For gs:// install apache-beam[gcp], for s3:// "
            "apache-beam[aws]."
        ) from None
    except Exception as error:  # each filesystem has its own
        raise InputError(f"{pattern} cannot be read: {str(error).splitlines()[0]}.") from None


def existing(pattern: str) -> list[str]:
    """List the files that fit, in order.

    Raises:
        InputError: there is none; or see `matched`.
    """
    found = matched(pattern)
    if not found:
        raise InputError(f"{pattern} does not exist. Check the path.")
    return found


def read_bytes(path: str) -> bytes:
    """Read a small file."""
    with FileSystems.open(path, compression_type="uncompressed") as file:
        return bytes(file.read())


def write_bytes(path: str, content: bytes) -> None:
    """Write a small file."""
    with FileSystems.create(path, compression_type="uncompressed") as file:
        file.write(content)


def make_folder(path: str) -> None:
    """Make a folder and its parents; where folders are but part of a name, nothing happens."""
    if not FileSystems.exists(path):
        FileSystems.mkdirs(path)


@contextmanager
def fetched(path: str) -> Iterator[Path]:
    """Copy a file to this machine for the block.

    Yields:
        The copy, of the same name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / FileSystems.split(path)[1]
        with FileSystems.open(path, compression_type="uncompressed") as source, local.open("wb") as copy:
            shutil.copyfileobj(source, copy, 2**20)
        yield local


def send(local: Path, path: str) -> None:
    """Copy a file from this machine."""
    with local.open("rb") as source, FileSystems.create(path, compression_type="uncompressed") as copy:
        shutil.copyfileobj(source, copy, 2**20)


def delete_folder(path: str) -> None:
    """Delete a folder with all that is in it, if it is there."""
    files = matched(f"{path}/**")  # where folders are but part of a name, there is nothing else
    if files:
        FileSystems.delete(files)
    if FileSystems.exists(path):
        FileSystems.delete([path])
