"""Serving the version before again.

Servers take the version with the largest number. So the version before is published once more under the next number:
they load it as they load any new version, without a gap in between, and what it replaces stays for a look at what was
wrong with it. No version is changed or removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.serving.publication import publish_copy, remove_leftovers
from laclrec_tf.serving.push_lock import push_lock
from laclrec_tf.serving.push_record import append_record, read_record
from laclrec_tf.serving.version.folder import model_folder, newest_version, version_folders
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, manifest_sha256, verify_manifest


@dataclass(frozen=True)
class Rollback:
    """What a rollback did.

    Args:
        version: the new version's folder.
        of: the number of the version it is a copy of.
        instead_of: the number of the version that was served before.
    """

    version: Path
    of: int
    instead_of: int


def roll_back(model: Path) -> Rollback:
    """Publish the version before the served one again, under the next number.

    After a rollback the served version is a copy, and "before" means before what it is a copy of: rolling back again
    goes one further back. The record `.pushes.jsonl` tells which version is a copy of which.

    Args:
        model: the model's folder, usually `saved_models/NAME`.

    Returns:
        What was done.

    Raises:
        InputError: there is no version before, its files are not as they were exported, `model` cannot be written,
            or another process pushes to it. Nothing has changed.

    Example:
        >>> roll_back(Path("saved_models/shop"))  # doctest: +SKIP
        Rollback(version=PosixPath('saved_models/shop/4'), of=2, instead_of=3)
    """
    newest_version(model)
    with model_folder(model), push_lock(model):
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
    """Follow a version to the one it is a copy of, if rollbacks made it."""
    last = {entry["version"]: entry for entry in read_record(model) if entry["action"] in ("push", "rollback")}
    while last.get(version, {}).get("action") == "rollback" and _is_of(last[version], folders.get(version)):
        if not last[version]["of"] < version:
            break
        version = last[version]["of"]
    return version


def _is_of(entry: dict[str, Any], folder: Path | None) -> bool:
    """Whether a line is of the version that is there: another export may have taken its number."""
    if folder is None:
        return True
    return (folder / MANIFEST_FILE).is_file() and manifest_sha256(folder) == entry["manifest_sha256"]
