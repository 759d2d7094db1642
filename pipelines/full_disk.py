"""A full disk as Python tells of it, also when it is TensorFlow that could not write."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

_CODES = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Turn TensorFlow's error of a full disk, or of a quota that is used up, into an `OSError`.

    TensorFlow has one kind of error for these and for memory that ran out; only the system's own words tell them apart.

    Raises:
        OSError: there is no room to write to. TensorFlow's other errors stay as they are.

    Example:
        >>> with full_disk_told():
        ...     raise tf.errors.ResourceExhaustedError(None, None, "events.out; No space left on device")
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device
    """
    try:
        yield
    except tf.errors.OpError as error:
        for code in _CODES:
            if os.strerror(code) in error.message:
                raise OSError(code, os.strerror(code)) from error
        raise
