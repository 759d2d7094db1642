"""Verify that a version's files are those that were exported."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.version.folder import version_folder
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, read_manifest, verify_manifest


def verify(model: str | Path, *, show_progress: bool = True) -> tuple[Path, int]:
    """Compare each file with the SHA-256 in the version's manifest.

    Args:
        model: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.
        show_progress: Default: True.

    Returns:
        The version's folder and the number of files in its manifest.

    Raises:
        InputError: there is no version or no manifest, or files are missing, changed or superfluous; the message
            names them.
    """
    folder = exported_version(Path(model))
    with spinner(f"verifying {folder}", disable=not show_progress):
        verify_manifest(folder)
    return folder, len(read_manifest(folder))


def exported_version(path: Path) -> Path:
    """Resolve a model's folder or one version's folder to a version's folder, also one that lost files.

    Args:
        path: `saved_models/NAME` or `saved_models/NAME/VERSION`.

    Raises:
        InputError: there is no version at either place.
    """
    return path if (path / MANIFEST_FILE).is_file() else version_folder(path)
