"""Files on any filesystem that Beam knows: whole small ones, fetched ones, tables of rows, and taking all away."""

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

from laclrec_tf.errors import InputError

_OF_PATTERNS = set("[]*?")


def matched(pattern: str) -> list[str]:
    """List the files that fit a path or a pattern such as `gs://bucket/events-*.parquet`, in order.

    What is on this machine under exactly that name is no pattern, whatever characters it has.

    Raises:
        InputError: the path's filesystem is unknown, lacks a library here, or refuses.
    """
    if _OF_PATTERNS & set(pattern) and os.path.exists(pattern):
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


def matched_below(folder: str, pattern: str) -> list[str]:
    """List the files below a folder that fit a pattern there; the folder's own name is none.

    Raises:
        InputError: see `matched`.
    """
    if not _OF_PATTERNS & set(folder):
        return matched(f"{folder}/{pattern}")
    # Beam has no escape, and lists nothing for a pattern without a folder before it.
    whole = folder if "://" in folder else os.path.abspath(folder)
    anything = "".join("?" if character in _OF_PATTERNS else character for character in whole)
    found = [path for path in matched(f"{anything}/{pattern}") if path.startswith(f"{whole}/")]
    return [folder + path.removeprefix(whole) for path in found]


def existing(pattern: str) -> list[str]:
    """List the files that fit, in order.

    Raises:
        InputError: there is none, or a folder is among them; or see `matched`.
    """
    found = matched(pattern)
    if not found:
        raise InputError(f"{pattern} does not exist. Check the path.")
    for path in found:
        if is_local_folder(path):
            raise InputError(f"{path} is a folder. Name the files in it.")
    return found


def check_result_name(out: str) -> None:
    """Refuse a name for a result that Beam could write beside, but would take for a pattern then.

    Raises:
        InputError: it has a character of patterns.

    Example:
        >>> check_result_name("data [may]")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: With --engine beam --out may hold none of []*?, which stand for patterns. \
Received: data [may]. Give another name.
    """
    if _OF_PATTERNS & set(out):
        raise InputError(
            f"With --engine beam --out may hold none of []*?, which stand for patterns. Received: {out}. "
            "Give another name."
        )


def is_local_folder(path: str) -> bool:
    """Say whether it is a folder of this machine; elsewhere folders are but part of a name."""
    return "://" not in path and Path(path).is_dir()


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


@contextmanager
def work_folder(out: str) -> Iterator[str]:
    """Make a folder beside `out` for the block, and delete it with all that is in it.

    That it cannot be deleted is a warning: it hides neither the block's error nor its result.

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


def _check_google_storage(place: str) -> None:
    # Beam itself asks without credentials then, for two minutes.
    try:
        importlib.import_module("apache_beam.io.gcp.gcsfilesystem")
        importlib.import_module("google_auth_httplib2")
    except ImportError:
        raise InputError(
            f"{place}: Beam's library for Google Cloud is not installed. Install it: pip install 'apache-beam[gcp]'."
        ) from None
