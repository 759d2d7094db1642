"""A model's folder: one sub-folder for each version, named by an integer, as TensorFlow Serving reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from laclrec_tf.errors import InputError, reason_of

SAVED_MODEL_FILE = "saved_model.pb"
LARGEST_VERSION = 2**63 - 1  # on the wire a version is an int64


def version_numbers(model: Path) -> list[int]:
    """List the versions in a model's folder, smallest first. Any other name is no version and is ignored.

    Args:
        model: the model's folder, usually `saved_models/NAME`; it need not exist.

    Returns:
        The version numbers.

    Example:
        >>> version_numbers(Path("no/such/folder"))
        []
    """
    return sorted(version_folders(model))


def version_folders(model: Path) -> dict[int, Path]:
    """Find the folder of each version; names may carry leading zeros. A number beyond int64 is no version.

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


def newest_version(model: Path) -> tuple[int, Path]:
    """Find the version to serve: the one with the largest number.

    Args:
        model: the model's folder, usually `saved_models/NAME`.

    Returns:
        The number and the version's folder.

    Raises:
        InputError: there is no such folder, no version in it, or the newest one holds no SavedModel.
    """
    remedy = "Make one with `laclrec-tf export RUN --to saved_models/NAME`."
    if not model.is_dir():
        raise InputError(f"{model} is no folder, so there is no model to load. {remedy}")
    if (model / SAVED_MODEL_FILE).exists():
        raise InputError(f"{model} is one version of a model. Give the folder above it.")
    numbers = version_numbers(model)
    if not numbers:
        raise InputError(f"{model} holds no version of a model: no sub-folder is named by an integer. {remedy}")
    folder = version_folders(model)[numbers[-1]]
    if not (folder / SAVED_MODEL_FILE).is_file():
        raise InputError(f"{folder} is not a SavedModel: {SAVED_MODEL_FILE} is missing. Delete it or export again.")
    return numbers[-1], folder


def version_folder(path: Path) -> Path:
    """Resolve a model's folder or one version's folder to a version's folder.

    Args:
        path: `saved_models/NAME` (the newest version is taken) or `saved_models/NAME/VERSION`.

    Returns:
        The version's folder.

    Raises:
        InputError: there is no SavedModel at either place.
    """
    return path if (path / SAVED_MODEL_FILE).is_file() else newest_version(path)[1]


@contextmanager
def model_folder(target: Path) -> Iterator[None]:
    """Make `target` and its parents for the block; when it fails, remove those that were missing and are empty.

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
            with suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"Cannot write to {target}: {reason_of(error)}. Give another folder.") from error
        raise


def check_model_folder(target: Path) -> None:
    """Refuse what cannot be a model's folder.

    Args:
        target: the folder; it need not exist.

    Raises:
        InputError: it is a file, or one version's own folder.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"Cannot write to {target}: it is a file. Give a folder, such as saved_models/NAME.")
    if (target / SAVED_MODEL_FILE).exists():
        raise InputError(f"Cannot write to {target}: it is one version of a model. Give the folder above it.")
