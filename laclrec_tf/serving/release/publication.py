"""Making a version visible to servers: one rename, of a folder that is whole and on the disk.

What is not yet, or no longer, a version lies in hidden folders of the model's folder, which servers ignore. A process
that is killed leaves them behind; the next push removes them.
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
from laclrec_tf.runtime.output_files import file_lock
from laclrec_tf.serving.version.folder import version_folders, version_numbers
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, manifest_sha256, read_manifest, verify_manifest

LOCK_FILE = ".push.lock"
RECORD_FILE = ".pushes.jsonl"
COMING = ".push-"
GOING = ".removed-"


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
    with file_lock(file, busy=f"Another process pushes to {model}. Wait for it, then try again."):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


# FOLDED: The record of a model's pushes, rollbacks and removals: `.pushes.jsonl` beside its versions, one line each.
# FOLDED:
# FOLDED: It lies beside the versions and not in them, so that it outlives them and no manifest changes; its name begins with a
# FOLDED: dot, so servers ignore it. A line is on the disk before what it tells of happens. So no version is served without its
# FOLDED: line; a process that was killed in between leaves a line of a version that never came, and the next one with this number
# FOLDED: has a later line. The last line of a version counts.
def append_record(model: Path, action: str, version: int, **about: Any) -> None:
    """Write one line and wait until it is on the disk.

    Args:
        model: the model's folder.
        action: "push", "rollback" or "remove".
        version: the version that comes, or goes.
        **about: anything that JSON can hold.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": time, "action": action, "version": version, **about}) + "\n"
    with (model / RECORD_FILE).open("ab+") as file:
        # A line that was cut short by a full disk must not take this one with it.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_record(model: Path) -> list[dict[str, Any]]:
    """Read the lines, oldest first; those that are damaged are left out.

    Args:
        model: the model's folder.

    Returns:
        `time` (UTC, ISO 8601), `action`, `version` and what else each line tells; none without a file.

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


def publish_copy(version: Path, model: Path, sha256: str, before_rename: Callable[[int], None]) -> Path:
    """Copy a version to the next number in a model's folder. Killed at any moment, it leaves no part of a version.

    Args:
        version: the folder to copy.
        model: the model's folder, under `push_lock`.
        sha256: of the manifest that the copy must have.
        before_rename: called with the version number just before it becomes visible.

    Returns:
        The new version's folder.

    Raises:
        InputError: the copy is not what the manifest says. Nothing is left behind.
        OSError: something cannot be read or written. Nothing is left behind.
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
    sync(model.parent)  # it may be new too
    return new


def remove_leftovers(model: Path) -> None:
    """Remove what killed pushes left.

    Args:
        model: the model's folder, under `push_lock`.
    """
    for folder in model.iterdir():
        if folder.name.startswith((COMING, GOING)):
            shutil.rmtree(folder, ignore_errors=True)


def remove_old_versions(
    model: Path, keep: int, before_rename: Callable[[int], None] = lambda version: None
) -> tuple[int, ...]:
    """Remove all but the newest versions. Each is hidden by a rename first, so no server finds half of one.

    Args:
        model: the model's folder, under `push_lock`.
        keep: how many stay, at least 1.
        before_rename: called with the version number just before it goes. Default: nothing.

    Returns:
        The numbers of the removed versions.

    Raises:
        OSError: one cannot be removed.
    """
    old = list(version_folders(model).items())[:-keep]
    for version, folder in old:
        before_rename(version)
        hidden = folder.rename(model / f"{GOING}{uuid.uuid4().hex}")
        shutil.rmtree(hidden)
    return tuple(version for version, _ in old)


def copy_to_disk(version: Path, copy: Path) -> None:
    """Copy the files that a version's manifest names, and wait until they are on the disk.

    Args:
        version: the version's folder.
        copy: the folder to make; its parent exists.

    Raises:
        InputError: the version has no manifest, or a damaged one.
        OSError: a file cannot be read or written. What was written so far stays.
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
    """Wait until a file's content, or a folder's names, are on the disk.

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
    """Rename a folder to the version one above the largest, or 1, whatever others do meanwhile.

    Args:
        folder: what becomes the version, on the same file system.
        model: the model's folder.
        before_rename: called with the number before each try. Default: nothing.

    Returns:
        The version's folder.

    Raises:
        OSError: the model's folder cannot be written.
    """
    version = max(version_numbers(model), default=0) + 1
    while True:
        before_rename(version)
        try:
            # Fails when the name is taken: another export may have been faster.
            folder.rename(model / str(version))
        except OSError:
            if not (model / str(version)).exists():
                raise
            version += 1
        else:
            return model / str(version)
