"""Publication of versions: a version becomes visible to servers by one rename, when it is whole and on the disk.

Versions that are being copied or deleted are in hidden folders of the model's folder, which servers ignore. A killed
process leaves them behind; the next push deletes them.

`.pushes.jsonl`, next to the versions, records each push, rollback and removal in one line. It outlives the versions and
belongs to no manifest. A line is on the disk before its action happens, so every served version has one. A killed
process may leave the line of a version that was never published. The last line of a version counts.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.output_files import append_line, file_lock
from laclrec_tf.serving.version.folder import MANIFEST_FILE, version_folders
from laclrec_tf.serving.version.manifest import manifest_sha256, read_manifest, verify_manifest

LOCK_FILE = ".push.lock"
RECORD_FILE = ".pushes.jsonl"
COMING = ".push-"
GOING = ".removed-"


def publish_copy(version: Path, model: Path, sha256: str, before_rename: Callable[[int], None]) -> Path:
    """Copy a version to the next number in a model's folder. Killed at any moment, it leaves no part of a version.

    Args:
        version: the folder to copy.
        model: the model's folder, under `push_lock`.
        sha256: SHA-256 of the manifest that the copy must have.
        before_rename: called with the version number just before the version becomes visible.

    Returns:
        The new version's folder.

    Raises:
        InputError: the copy does not match its manifest. Nothing is left behind.
        OSError: a file cannot be read or written. Nothing is left behind.
    """
    copy = model / f"{COMING}{uuid.uuid4().hex}"
    try:
        copy_to_disk(version, copy)
        if manifest_sha256(copy) != sha256:
            raise InputError(f"{version} changed while it was pushed. Push again.")
        verify_manifest(copy)
        new = rename_to_next_version(copy, model, before_rename)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    sync(model)
    sync(model.parent)  # it may be new, too
    return new


def copy_to_disk(version: Path, copy: Path) -> None:
    """Copy the files that a version's manifest lists, and wait until they are on the disk.

    Args:
        version: the version's folder.
        copy: the folder to create; its parent exists.

    Raises:
        InputError: the manifest is missing or damaged.
        OSError: a file cannot be read or written. The files written so far are kept.
    """
    copy.mkdir()
    folders = {copy}
    for name in [*read_manifest(version), MANIFEST_FILE.as_posix()]:
        file = copy / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(version / name, file)
        sync(file)
        folders |= {folder for folder in file.parents if folder.is_relative_to(copy)}
    for folder in folders:
        sync(folder)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    Args:
        path: the file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_to_next_version(
    folder: Path, model: Path, before_rename: Callable[[int], None] = lambda version: None
) -> Path:
    """Rename a folder to the version one above the largest, or 1. Other processes may publish at the same time.

    Args:
        folder: the folder that becomes the version, on the same file system.
        model: the model's folder.
        before_rename: called with the number before each attempt. Default: no call.

    Returns:
        The version's folder.

    Raises:
        OSError: the model's folder cannot be written.
    """
    version = max(version_folders(model), default=0) + 1
    while True:
        before_rename(version)
        try:
            # Fails if the name is taken: another export may have been faster.
            folder.rename(model / str(version))
        except OSError:
            if not (model / str(version)).exists():
                raise
            version += 1
        else:
            return model / str(version)


def remove_old_versions(
    model: Path, keep: int, before_rename: Callable[[int], None] = lambda version: None
) -> tuple[int, ...]:
    """Delete all but the newest versions. Each is hidden by a rename first, so that no server reads half of one.

    Args:
        model: the model's folder, under `push_lock`.
        keep: number of versions to keep, at least 1.
        before_rename: called with the version number just before the version is hidden. Default: no call.

    Returns:
        The numbers of the deleted versions.

    Raises:
        OSError: a version cannot be deleted.
    """
    old = list(version_folders(model).items())[:-keep]
    for version, folder in old:
        before_rename(version)
        hidden = folder.rename(model / f"{GOING}{uuid.uuid4().hex}")
        shutil.rmtree(hidden)
    return tuple(version for version, _ in old)


def remove_leftovers(model: Path) -> None:
    """Delete the hidden folders that killed pushes left.

    Args:
        model: the model's folder, under `push_lock`.
    """
    for folder in model.iterdir():
        if folder.name.startswith((COMING, GOING)):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def push_lock(model: Path) -> Iterator[None]:
    """Lock the model's folder for the block.

    Args:
        model: the model's folder; it exists.

    Raises:
        InputError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    file = model / LOCK_FILE
    with file_lock(file, busy=f"Another process pushes to {model}. Wait for it, then try again."):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def append_record(model: Path, action: str, version: int, **about: Any) -> None:
    """Append a line to the record of pushes and wait until it is on the disk.

    Args:
        model: the model's folder.
        action: "push", "rollback" or "remove".
        version: number of the version that is published or removed.
        **about: further entries, anything that JSON can hold.

    Raises:
        InputError: the record is a symbolic link, or no regular file.
        OSError: the record cannot be written.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": time, "action": action, "version": version, **about})
    append_line(model / RECORD_FILE, line)


def read_record(model: Path) -> list[dict[str, Any]]:
    """Read the lines of the record of pushes, oldest first, without damaged ones.

    Args:
        model: the model's folder.

    Returns:
        `time` (UTC, ISO 8601), `action`, `version` and the other entries of each line; none without a file.

    Example:
        >>> read_record(Path("no/such/folder"))
        []
    """
    file = model / RECORD_FILE
    if not file.is_file():
        return []
    entries = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("version"), int):
            entries.append(entry)
    return entries
