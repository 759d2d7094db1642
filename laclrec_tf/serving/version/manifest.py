"""The manifest of a version: the SHA-256 and size of each of its files, so that damage is found before it is served."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256

MANIFEST_FILE = Path("assets.extra", "manifest.json")
FORMAT_VERSION = 1
SHOWN = 3
_REMEDY = "Export the model again."


def write_manifest(version_folder: Path) -> None:
    """Write `assets.extra/manifest.json`, which names every file of the version but itself.

    Write it last: a file that changes afterwards no longer fits.

    Args:
        version_folder: the version's folder.

    Raises:
        OSError: a file cannot be read, or the manifest not be written.
    """
    files = {name: _fingerprint(version_folder / name) for name in _file_names(version_folder)}
    manifest = {"format_version": FORMAT_VERSION, "files": files}
    file = version_folder / MANIFEST_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_manifest(version_folder: Path) -> dict[str, dict[str, Any]]:
    """Read what the manifest says.

    Args:
        version_folder: the version's folder.

    Returns:
        `sha256` (hexadecimal) and `size` (bytes) by the file's name, which is relative to the folder, with `/`.

    Raises:
        InputError: there is no manifest, or it is damaged.

    Example:
        >>> read_manifest(Path("shop/1"))
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: shop/1 has no assets.extra/manifest.json, so nothing in it can be verified. \
Export the model again.
    """
    file = version_folder / MANIFEST_FILE
    if not file.is_file():
        raise InputError(
            f"{version_folder} has no {MANIFEST_FILE.as_posix()}, so nothing in it can be verified. {_REMEDY}"
        )
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{file} has format version {manifest['format_version']}, "
                f"this program reads version {FORMAT_VERSION}. {_REMEDY}"
            )
        return {
            str(name): {"sha256": str(about["sha256"]), "size": int(about["size"])}
            for name, about in manifest["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is damaged. {_REMEDY}") from None


def verify_manifest(version_folder: Path) -> None:
    """Check that a version holds the files of its manifest, unchanged, and no others.

    Args:
        version_folder: the version's folder.

    Raises:
        InputError: there is no manifest or it is damaged, or files are missing, changed or superfluous; the
            message names them.
    """
    listed = read_manifest(version_folder)
    found = set(_file_names(version_folder))
    problems = {
        "missing": listed.keys() - found,
        "changed": {name for name in listed.keys() & found if not _is_as_listed(version_folder / name, listed[name])},
        "superfluous": found - listed.keys(),
    }
    told = [f"{problem}: {_shortened(names)}" for problem, names in problems.items() if names]
    if told:
        raise InputError(f"{version_folder} is not as it was exported. {'; '.join(told)}. {_REMEDY}")


def manifest_sha256(version_folder: Path) -> str:
    """Return the SHA-256 of the manifest itself: two versions that share it hold the same files.

    Args:
        version_folder: the version's folder; it has a manifest.
    """
    return file_sha256(version_folder / MANIFEST_FILE)


def _file_names(folder: Path) -> list[str]:
    names = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]  # they are not walked into
        names += [Path(parent, name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(name for name in names if name != MANIFEST_FILE.as_posix())


def _fingerprint(file: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(file), "size": file.stat().st_size}


def _is_as_listed(file: Path, listed: dict[str, Any]) -> bool:
    # A file that was cut is found without reading it.
    return file.is_file() and file.stat().st_size == listed["size"] and file_sha256(file) == listed["sha256"]


def _shortened(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
