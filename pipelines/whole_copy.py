"""Copy a folder so that whoever reads the copy finds a whole one or none."""

from __future__ import annotations

import shutil
from pathlib import Path

from laclrec_tf.errors import InputError, reason_of


def copy_whole(folder: Path, to: Path, last: str) -> Path:
    """Copy a folder's files, and the one without which it is none at the end.

    For mounted buckets, which cannot rename a folder into place.

    Args:
        folder: what to copy.
        to: where; made with its parents, files of the same name are replaced.
        last: the file in `folder` that readers look for, such as "run.json".

    Returns:
        `to`.

    Raises:
        InputError: it cannot be written.

    Example:
        >>> copy_whole(Path("run"), Path("/gcs/shop/run"), last="run.json")  # doctest: +SKIP
        PosixPath('/gcs/shop/run')
    """

    def left_for_later(inside: str, _: list[str]) -> list[str]:
        return [last] if Path(inside) == folder else []

    try:
        # Contents only: a bucket keeps no times and permissions.
        shutil.copytree(folder, to, dirs_exist_ok=True, ignore=left_for_later, copy_function=shutil.copyfile)
        shutil.copyfile(folder / last, to / last)
    except OSError as error:
        raise InputError(
            f"Cannot write {to}: {reason_of(error)}. Check the disk or the bucket, and who may write there."
        ) from error
    return to
