"""Making a version visible to servers: one rename, of a folder that is whole and on the disk.

What is not yet, or no longer, a version lies in hidden folders of the model's folder, which servers ignore. A process
that is killed leaves them behind; the next push removes them.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.folder import version_folders, version_numbers
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, manifest_sha256, read_manifest, verify_manifest

COMING = ".push-"
GOING = ".removed-"


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
