"""Files on any filesystem that Beam supports: list, read, write, fetch, send and delete them."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from laclrec_tf.data.event_files import is_hidden
from laclrec_tf.errors import InputError

_PATTERN_CHARACTERS = set("[]*?")
_COPY_BYTES = 2**20  # copied at a time


def matched(pattern: str) -> list[str]:
    """List the files that match a path or a pattern such as `gs://bucket/events-*.parquet`, sorted.

    A local file of exactly that name is never treated as a pattern, whatever characters its name has.

    Raises:
        InputError: Beam does not support the filesystem, a library for it is not installed, or it refuses.
    """
    if _PATTERN_CHARACTERS & set(pattern) and os.path.exists(pattern):
        return [pattern]
    if pattern.startswith("gs://"):
        _check_google_storage(pattern)
    try:
        return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)
    except ValueError:
        raise InputError(
            f"{pattern}: Beam has no filesystem for it here. For gs:// install apache-beam[gcp], for s3:// "
            "apache-beam[aws]."
        ) from None
    except Exception as error:  # each filesystem has its own
        raise InputError(f"{pattern} cannot be read: {str(error).splitlines()[0]}.") from None


def _check_google_storage(place: str) -> None:
    # Without these libraries Beam itself would try for two minutes, without credentials.
    try:
        importlib.import_module("apache_beam.io.gcp.gcsfilesystem")
        importlib.import_module("google_auth_httplib2")
    except ImportError:
        raise InputError(
            f"{place}: Beam's library for Google Cloud is not installed. Install it: pip install 'apache-beam[gcp]'."
        ) from None


def matched_below(folder: str, pattern: str) -> list[str]:
    """List the files below a folder that match a pattern. The folder's own name is never treated as a pattern.

    Raises:
        InputError: see `matched`.
    """
    if not _PATTERN_CHARACTERS & set(folder):
        return matched(f"{folder}/{pattern}")
    # Beam cannot escape a character, and finds nothing for a pattern that starts with a bare name.
    whole = folder if "://" in folder else os.path.abspath(folder)
    wildcards = "".join("?" if character in _PATTERN_CHARACTERS else character for character in whole)
    found = [path for path in matched(f"{wildcards}/{pattern}") if path.startswith(f"{whole}/")]
    return [folder + path.removeprefix(whole) for path in found]


def existing(pattern: str) -> list[str]:
    """List the files that match, sorted; a folder stands for the Parquet files below it, as in `files_of`.

    Raises:
        InputError: nothing matches, or a folder that has no Parquet file; or see `matched`.
    """
    found = matched(pattern) or _parquet_below(pattern)
    if not found:
        raise InputError(f"{pattern} does not exist. Check the path.")
    files = []
    for path in found:
        below = _parquet_below(path) if is_local_folder(path) else [path]
        if not below:
            raise InputError(f"{path} is a folder. Name the files in it.")
        files += below
    return files


def _parquet_below(folder: str) -> list[str]:
    folder = folder.rstrip("/")
    found = matched_below(folder, "**.parquet")
    return [path for path in found if not is_hidden(path[len(folder) + 1 :]) and not is_local_folder(path)]


def check_result_name(out: str) -> None:
    """Refuse a name for a result that Beam would read as a pattern.

    Raises:
        InputError: the name has a character of patterns.

    Example:
        >>> check_result_name("data [may]")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Beam reads []*? in names as patterns, so a result's name cannot have them. \
Received: data [may]. Give another name.
    """
    if _PATTERN_CHARACTERS & set(out):
        raise InputError(
            f"Beam reads []*? in names as patterns, so a result's name cannot have them. Received: {out}. "
            "Give another name."
        )


def is_local_folder(path: str) -> bool:
    """Return whether the path is a folder of this machine. Elsewhere a folder is only a prefix of names."""
    return "://" not in path and Path(path).is_dir()


def read_bytes(path: str) -> bytes:
    """Read a small file."""
    with FileSystems.open(path, compression_type="uncompressed") as file:
        return bytes(file.read())


def write_bytes(path: str, content: bytes) -> None:
    """Write a small file."""
    with FileSystems.create(path, compression_type="uncompressed") as file:
        file.write(content)


@contextmanager
def fetched(path: str) -> Iterator[Path]:
    """Copy a file to this machine for the block.

    Yields:
        The copy, which has the same name and is in folders of the partition's names, such as `date=2024-05-31`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        *folders, name = path.split("/")
        local = Path(scratch, *(part for part in folders if "=" in part), name)
        local.parent.mkdir(parents=True, exist_ok=True)
        with FileSystems.open(path, compression_type="uncompressed") as source, local.open("wb") as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
        yield local


def send(local: Path, path: str) -> None:
    """Copy a file from this machine."""
    with local.open("rb") as source, FileSystems.create(path, compression_type="uncompressed") as copy:
        shutil.copyfileobj(source, copy, _COPY_BYTES)


def join(pieces: list[str], path: str) -> None:
    """Write the contents of files, one after the other, to one file."""
    with FileSystems.create(path, compression_type="uncompressed") as whole:
        for each in pieces:
            with FileSystems.open(each, compression_type="uncompressed") as piece:
                shutil.copyfileobj(piece, whole, _COPY_BYTES)


def make_folder(path: str) -> None:
    """Make a folder and its parents. Filesystems whose folders are only prefixes of names ignore this."""
    if not FileSystems.exists(path):
        FileSystems.mkdirs(path)


@contextmanager
def work_folder(out: str) -> Iterator[str]:
    """Make a folder next to `out` for the block, and delete it afterwards.

    If it cannot be deleted, a warning is logged: this neither hides an error of the block nor spoils its result.

    Yields:
        Its path.
    """
    path = f"{out}.partial-{uuid.uuid4().hex[:12]}"
    try:
        make_folder(path)
        yield path
    finally:
        try:
            _delete_folder(path)
        except Exception as error:  # each filesystem has its own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logging.getLogger(__name__).warning("%s could not be deleted: %s. Delete it by hand.", path, reason)


def _delete_folder(path: str) -> None:
    files = matched(f"{path}/**")
    if files:
        FileSystems.delete(files)
    if FileSystems.exists(path):
        FileSystems.delete([path])
