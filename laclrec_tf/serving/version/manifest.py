"""The manifest of a version: SHA-256 and size of each of its files, to detect damage before a version is served."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.version.folder import MANIFEST_FILE, reading, version_folder

FORMAT_VERSION = 1
SHOWN = 3


def verify(model: str | Path, *, show_progress: bool = True) -> tuple[Path, int]:
    """Compare each file of a version with the SHA-256 in its manifest.

    Args:
        model: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.
        show_progress: whether to show a spinner. Default: True.

    Returns:
        The version's folder and the number of files in its manifest.

    Raises:
        InputError: there is no version or no manifest, or files are missing, changed or superfluous; the message
            names them.
    """
    folder = version_folder(Path(model))
    with spinner(f"verifying {folder}", disable=not show_progress):
        return folder, verify_manifest(folder)


def verify_manifest(version: Path, more_allowed: bool = False) -> int:
    """Check that a version holds the files of its manifest, unchanged, and no others.

    Args:
        version: the version's folder.
        more_allowed: whether it may hold other files, too. Default: False.

    Returns:
        The number of files in the manifest.

    Raises:
        InputError: the manifest is missing or damaged, or files are missing, changed or superfluous; the message names
            them.
    """
    listed = read_manifest(version)
    found = set(_file_names(version))
    problems = {
        "missing": listed.keys() - found,
        "changed": {name for name in listed.keys() & found if not _is_as_listed(version / name, listed[name])},
        "superfluous": set() if more_allowed else found - listed.keys(),
    }
    texts = [f"{problem}: {_shortened(names)}" for problem, names in problems.items() if names]
    if texts:
        raise InputError(f"{version} is not as it was exported. {'; '.join(texts)}. Export the model again.")
    return len(listed)


def has_all_files(version: Path) -> bool:
    """Return whether each file of a version's manifest is there with its size. No file is read, so it costs little.

    Args:
        version: the version's folder.

    Returns:
        False also if the manifest is missing or damaged.

    Example:
        >>> has_all_files(Path("no/such/version"))
        False
    """
    try:
        listed = read_manifest(version)
        return all((version / name).stat().st_size == about["size"] for name, about in listed.items())
    except (InputError, OSError):
        return False


def read_manifest(version: Path) -> dict[str, dict[str, Any]]:
    """Read the manifest.

    Args:
        version: the version's folder.

    Returns:
        `sha256` (hexadecimal) and `size` (bytes) by the file's name, which is relative to the folder, with `/`.

    Raises:
        InputError: the manifest is missing or damaged.
    """
    with reading(version, MANIFEST_FILE) as manifest:
        if manifest["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{version / MANIFEST_FILE} has format version {manifest['format_version']}, "
                f"this program reads version {FORMAT_VERSION}. Export the model again."
            )
        return {
            str(name): {"sha256": str(about["sha256"]), "size": int(about["size"])}
            for name, about in manifest["files"].items()
        }


def write_manifest(version: Path) -> None:
    """Write `assets.extra/manifest.json`, which lists every file of the version except itself.

    Write it last: a file that changes afterwards does not match it.

    Args:
        version: the version's folder.

    Raises:
        OSError: a file cannot be read, or the manifest cannot be written.
    """
    files = {}
    for name in _file_names(version):
        file = version / name
        files[name] = {"sha256": file_sha256(file), "size": file.stat().st_size}
    manifest = version / MANIFEST_FILE
    manifest.parent.mkdir(exist_ok=True)
    content = {"format_version": FORMAT_VERSION, "files": files}
    manifest.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def manifest_sha256(version: Path) -> str:
    """Return the SHA-256 of the manifest itself: two versions with the same one hold the same files.

    Args:
        version: the version's folder; it has a manifest.
    """
    return file_sha256(version / MANIFEST_FILE)


def _file_names(folder: Path) -> list[str]:
    names = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]  # os.walk does not follow them
        names += [Path(parent, name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(name for name in names if name != MANIFEST_FILE.as_posix())


def _is_as_listed(file: Path, listed: dict[str, Any]) -> bool:
    # The size is compared first: a truncated file need not be read.
    return file.is_file() and file.stat().st_size == listed["size"] and file_sha256(file) == listed["sha256"]


def _shortened(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
