"""Cloud Storage as a folder: Vertex AI mounts every bucket below /gcs/."""

from __future__ import annotations

import re
from pathlib import Path

from laclrec_tf.errors import InputError

SCHEME = "gs://"
MOUNT = Path("/gcs")
# Source: https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ANY_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def bucket_of(uri: str) -> tuple[str, str]:
    """Split "gs://BUCKET/NAME" into the bucket and the name in it, which may be empty.

    Raises:
        InputError: it is no such address.

    Example:
        >>> bucket_of("gs://shop/data/may")
        ('shop', 'data/may')
    """
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not _BUCKET.fullmatch(bucket):
        raise InputError(f"A place in Cloud Storage is written gs://BUCKET/FOLDER. Received: {uri!r}.")
    return bucket, name.strip("/")


def mounted(place: str) -> Path:
    """Return the path under which a place is read and written on Vertex AI; local paths stay.

    Args:
        place: "gs://BUCKET/NAME", or a path.

    Raises:
        InputError: it begins with gs:// but is no address.

    Example:
        >>> mounted("gs://shop/data/may")
        PosixPath('/gcs/shop/data/may')
        >>> mounted("data/may")
        PosixPath('data/may')
    """
    if not place.startswith(SCHEME):
        return Path(place)
    bucket, name = bucket_of(place)
    return MOUNT / bucket / name


def reachable(place: str) -> Path:
    """Return the path of a place that must be there to be read or written.

    Raises:
        InputError: it is in a bucket, and no bucket of that name is mounted here.
    """
    path = mounted(place)
    if place.startswith(SCHEME):
        bucket = MOUNT / bucket_of(place)[0]
        if not bucket.is_dir():
            raise InputError(
                f"{place} is reached through {bucket}, which is not there. On Vertex AI it is; elsewhere mount the "
                f"bucket (`gcsfuse --implicit-dirs BUCKET {MOUNT}/BUCKET`) or give a local path. "
                "`laclrec-tf prepare --engine beam` and `laclrec-tf recommend-all --engine beam` need no mount."
            )
    return path


def on_this_machine(place: str) -> str:
    """Return the path of a place that the local engine reads or writes.

    Args:
        place: "gs://BUCKET/NAME", or a path, which stays as it is.

    Raises:
        InputError: it is in a bucket that is not mounted here, or has another scheme, such as s3://.

    Example:
        >>> on_this_machine("data/may")
        'data/may'
        >>> on_this_machine("s3://shop/data")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: s3://shop/data is no path of this machine. Add --engine beam, which knows other \
filesystems, or give a local path.
    """
    if place.startswith(SCHEME):
        return str(reachable(place))
    if _ANY_SCHEME.match(place):
        raise InputError(
            f"{place} is no path of this machine. Add --engine beam, which knows other filesystems, or give a local "
            "path."
        )
    return place


def is_in_bucket(path: Path) -> bool:
    """Say whether a path is one below a mounted bucket, which can neither rename folders nor lock files.

    Example:
        >>> is_in_bucket(mounted("gs://shop/data/may"))
        True
    """
    return path.is_relative_to(MOUNT)
