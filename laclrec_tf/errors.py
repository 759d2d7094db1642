"""The error for what a user can mend, the base of our warnings, and the reason of the operating system's errors."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in what a user gave: a file, a column, an argument.

    Its text is one line that names what was wrong and how to mend it. The command line prints it without a
    traceback and exits with code 2.

    Example:
        >>> raise InputError("events.csv has no column 'user'. Columns: user_id, item_id.")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: events.csv has no column 'user'. Columns: user_id, item_id.
    """


class LACLRecWarning(UserWarning):
    """The base class of this package's warnings. A command prints them as one line each."""


def reason_of(error: OSError) -> str:
    """Say in one line why the operating system refused.

    Args:
        error: as Python raises it, or a library that has only a text for it.

    Example:
        >>> reason_of(FileNotFoundError(2, "No such file or directory"))
        'No such file or directory'
        >>> reason_of(OSError("disk quota exceeded.\\n  at line 3"))
        'disk quota exceeded'
    """
    text = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
    return text.strip().rstrip(".")
