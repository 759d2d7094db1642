"""A model's folder for whoever writes a version into it: made when missing, taken away when nothing came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.serving.model_versions import SAVED_MODEL_FILE


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
