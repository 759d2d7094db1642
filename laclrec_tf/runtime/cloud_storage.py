"""Paths of Cloud Storage: Vertex AI mounts every bucket as a folder in /gcs."""

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
    """Split "gs://BUCKET/NAME" into the bucket and the name, which may be empty.

    Raises:
        InputError: `uri` has another form.

    Example:
        >>> bucket_of("gs://shop/data/may")
        ('shop', 'data/may')
    """
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not _BUCKET.fullmatch(bucket):
        raise InputError(f"A path in Cloud Storage must have the form gs://BUCKET/FOLDER. Received: {uri!r}.")
    return bucket, name.strip("/")


def mounted(place: str) -> Path:
    """Return the path where Vertex AI mounts "gs://BUCKET/NAME". Other paths are returned unchanged.

    Args:
        place: "gs://BUCKET/NAME" or a path.

    Raises:
        InputError: `place` starts with gs:// but has another form.

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
    """Return the local path of a place, for code that reads and writes with the operating system.

    Args:
        place: "gs://BUCKET/NAME" of a mounted bucket, or a path.

    Raises:
        InputError: the bucket is not mounted here, or `place` has another scheme, e.g. s3://.

    Example:
        >>> reachable("data/may")
        PosixPath('data/may')
        >>> reachable("s3://shop/data")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: s3://shop/data is not a local path. Give a local path or gs://BUCKET/FOLDER of a \
mounted bucket. `laclrec-tf prepare --engine beam` and `laclrec-tf recommend-all --engine beam` support others.
    """
    beam = "`laclrec-tf prepare --engine beam` and `laclrec-tf recommend-all --engine beam`"
    path = mounted(place)
    if place.startswith(SCHEME):
        bucket = MOUNT / bucket_of(place)[0]
        if not bucket.is_dir():
            raise InputError(
                f"{place} must be mounted at {bucket}, which does not exist. Vertex AI mounts it. On other machines "
                f"mount it (`gcsfuse --implicit-dirs BUCKET {MOUNT}/BUCKET`) or give a local path. "
                f"{beam} need no mount."
            )
    elif _ANY_SCHEME.match(place):
        raise InputError(
            f"{place} is not a local path. Give a local path or gs://BUCKET/FOLDER of a mounted bucket. "
            f"{beam} support others."
        )
    return path


def is_in_bucket(path: Path) -> bool:
    """Return whether a path is in a mounted bucket, where folders cannot be renamed and files cannot be locked.

    Example:
        >>> is_in_bucket(mounted("gs://shop/data/may"))
        True
    """
    return path.is_relative_to(MOUNT)
