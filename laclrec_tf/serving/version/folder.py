"""A model's folder and its versions: one sub-folder for each, named by an integer, as TensorFlow Serving reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError, reason_of

SAVED_MODEL_FILE = "saved_model.pb"
MANIFEST_FILE = Path("assets.extra", "manifest.json")
LARGEST_VERSION = 2**63 - 1  # on the wire a version is an int64


def version_folders(model: Path) -> dict[int, Path]:
    """Find the folder of each version; names may have leading zeros. A number beyond int64 is no version.

    Args:
        model: the model's folder, usually `saved_models/NAME`; it need not exist.

    Returns:
        The folders by version number, smallest first.

    Example:
        >>> version_folders(Path("no/such/folder"))
        {}
    """
    if not model.is_dir():
        return {}
    named = [path for path in model.iterdir() if path.name.isascii() and path.name.isdigit() and path.is_dir()]
    numbered = sorted((int(path.name), path) for path in named)
    return {number: path for number, path in numbered if number <= LARGEST_VERSION}


def whole_versions(model: Path) -> dict[int, Path]:
    """Find the folder of each version that holds a SavedModel, see `version_folders`."""
    return {number: path for number, path in version_folders(model).items() if (path / SAVED_MODEL_FILE).is_file()}


def newest_version(model: Path) -> tuple[int, Path]:
    """Find the version to serve, which has the largest number.

    Args:
        model: the model's folder, usually `saved_models/NAME`.

    Returns:
        The number and the version's folder.

    Raises:
        InputError: the folder does not exist or has no version, the newest version holds no SavedModel, or TensorFlow
            cannot read it there.
    """
    check_pattern_free(model)
    remedy = "Make one with `laclrec-tf export RUN --to saved_models/NAME`."
    if not model.is_dir():
        raise InputError(f"{model} is no folder, so there is no model to load. {remedy}")
    if (model / SAVED_MODEL_FILE).exists():
        raise InputError(f"{model} is one version of a model. Give the folder above it.")
    versions = version_folders(model)
    if not versions:
        raise InputError(f"{model} holds no version of a model: no sub-folder is named by an integer. {remedy}")
    number = max(versions)
    if not (versions[number] / SAVED_MODEL_FILE).is_file():
        raise InputError(
            f"{versions[number]} is not a SavedModel: {SAVED_MODEL_FILE} is missing. Delete it or export again."
        )
    return number, versions[number]


def version_folder(path: Path) -> Path:
    """Resolve a model's folder or one version's folder to a version's folder.

    Args:
        path: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`, also one that
            has lost files.

    Returns:
        The version's folder.

    Raises:
        InputError: there is no version at either place, or TensorFlow cannot read it there.
    """
    check_pattern_free(path)
    is_version = (path / SAVED_MODEL_FILE).is_file() or (path / MANIFEST_FILE).is_file()
    return path if is_version else newest_version(path)[1]


@contextmanager
def model_folder(target: Path) -> Iterator[None]:
    """Create `target` and its parents for the block. If the block fails, delete those that it created and are empty.

    Args:
        target: the model's folder, usually `saved_models/NAME`.

    Raises:
        InputError: `target` is a file or one version's own folder, or it, or something in it, cannot be written.

    Example:
        >>> with model_folder(Path("saved_models/shop")):  # doctest: +SKIP
        ...     Path("saved_models/shop/1").mkdir()
    """
    check_model_folder(target)
    missing = [folder for folder in (target, *target.parents) if not folder.exists()]  # innermost first
    try:
        target.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for folder in missing:
            with suppress(OSError):  # another process may have written into it
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"Cannot write to {target}: {reason_of(error)}. Give another folder.") from error
        raise


def check_pattern_free(place: Path) -> None:
    """Refuse a path from which TensorFlow cannot restore weights, because it reads the path as a pattern.

    Args:
        place: folder of a model or of a version.

    Raises:
        InputError: the absolute path contains one of the characters `[ ] * ?` or a backslash.

    Example:
        >>> check_pattern_free(Path("shop[1]"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: TensorFlow cannot read a model in ...shop[1]: it reads [ as part of a pattern. ...
    """
    special = next((character for character in str(place.absolute()) if character in "[]*?\\"), None)
    if special is not None:
        raise InputError(
            f"TensorFlow cannot read a model in {place.absolute()}: it reads {special} as part of a pattern. "
            "Choose a folder whose path has none of [ ] * ? and no backslash."
        )


def check_model_folder(target: Path) -> None:
    """Check that a path can be a model's folder.

    Args:
        target: the folder; it need not exist.

    Raises:
        InputError: it is a file, or one version's own folder, or TensorFlow could not read a model there.
    """
    check_pattern_free(target)
    if target.exists() and not target.is_dir():
        raise InputError(f"Cannot write to {target}: it is a file. Give a folder, such as saved_models/NAME.")
    if (target / SAVED_MODEL_FILE).exists():
        raise InputError(f"Cannot write to {target}: it is one version of a model. Give the folder above it.")


@contextmanager
def reading(version: Path, name: Path) -> Iterator[Any]:
    """Read a JSON file of a version; a `ValueError` or the like in the block means that the file is damaged.

    Args:
        version: the version's folder.
        name: the file's name in it.

    Yields:
        The content.

    Raises:
        InputError: the file is missing or damaged.

    Example:
        >>> with reading(Path("shop/1"), MANIFEST_FILE) as content:
        ...     names = sorted(content["files"])
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: shop/1 has no assets.extra/manifest.json. Export the model again.
    """
    file = version / name
    if not file.is_file():
        raise InputError(f"{version} has no {name.as_posix()}. Export the model again.")
    try:
        yield json.loads(file.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged. Export the model again.") from None
