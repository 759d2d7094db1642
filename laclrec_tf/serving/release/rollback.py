"""Rollback: the version before the served one is published again, under the next number.

Servers take the version with the largest number, so they load the copy as they load any new version, without a gap. The
version that it replaces is kept for inspection. No version is changed or deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.release.publication import (
    append_record,
    publish_copy,
    push_lock,
    read_record,
    remove_leftovers,
)
from laclrec_tf.serving.version.folder import MANIFEST_FILE, model_folder, newest_version, version_folders
from laclrec_tf.serving.version.manifest import manifest_sha256, verify_manifest


@dataclass(frozen=True)
class Rollback:
    """Result of a rollback.

    Args:
        version: the new version's folder.
        of: number of the version that it is a copy of.
        instead_of: number of the version that was served before.
    """

    version: Path
    of: int
    instead_of: int


def rollback(model: str | Path, *, show_progress: bool = True) -> Rollback:
    """Publish the version before the served one again, under the next number.

    After a rollback the served version is a copy. A second rollback goes back one version further, to the version
    before the original of that copy. The record `.pushes.jsonl` holds the original of each copy.

    Args:
        model: the folder that is served, usually `saved_models/NAME`.
        show_progress: whether to show a spinner. Default: True.

    Returns:
        What was published.

    Raises:
        InputError: there is no version before the served one, its files are not as they were exported, `model` cannot
            be written, or another process pushes to it. Nothing has changed.

    Example:
        >>> rollback("saved_models/shop")  # doctest: +SKIP
        Rollback(version=PosixPath('saved_models/shop/4'), of=2, instead_of=3)
    """
    model = Path(model)
    newest_version(model)
    with spinner(f"rolling back {model}", disable=not show_progress), model_folder(model), push_lock(model):
        remove_leftovers(model)
        folders = version_folders(model)
        served = max(folders)
        original = _original(model, served, folders)
        earlier = [number for number in folders if number < original]
        if not earlier:
            copied = "" if original == served else f", a copy of {original}"
            raise InputError(f"{model} has no version before the served one, {served}{copied}. Push a version to it.")
        of = max(earlier)
        verify_manifest(folders[of])
        sha256 = manifest_sha256(folders[of])
        about = {"of": of, "instead_of": served, "manifest_sha256": sha256}
        version = publish_copy(
            folders[of], model, sha256, lambda number: append_record(model, "rollback", number, **about)
        )
    return Rollback(version, of, served)


def _original(model: Path, version: int, folders: dict[int, Path]) -> int:
    """Follow a version that rollbacks copied to the version that was first pushed."""
    last = {entry["version"]: entry for entry in read_record(model) if entry["action"] in ("push", "rollback")}
    while last.get(version, {}).get("action") == "rollback" and _describes(last[version], folders.get(version)):
        if not last[version]["of"] < version:
            break
        version = last[version]["of"]
    return version


def _describes(entry: dict[str, Any], folder: Path | None) -> bool:
    """Return whether a line is about the version in this folder: another export may have taken its number."""
    if folder is None:
        return True
    return (folder / MANIFEST_FILE).is_file() and manifest_sha256(folder) == entry["manifest_sha256"]
