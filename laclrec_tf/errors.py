"""The error for mistakes of a user, the base class of warnings, and reasons of errors of the operating system."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in the input of a user: a file, a column or an argument.

    The message is one line that names the mistake and the remedy. The command line prints it without a traceback and
    exits with code 2.

    Example:
        >>> raise InputError("events.csv has no column 'user'. Columns: user_id, item_id.")
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: events.csv has no column 'user'. Columns: user_id, item_id.
    """


class LACLRecWarning(UserWarning):
    """The base class of the warnings of this package. A command prints each of them as one line."""


def reason_of(error: OSError) -> str:
    """Return the reason of an error of the operating system, in one line.

    Args:
        error: an error raised by Python, or by a library that sets only its text.

    Example:
        >>> reason_of(FileNotFoundError(2, "No such file or directory"))
        'No such file or directory'
        >>> reason_of(OSError("disk quota exceeded.\\n  at line 3"))
        'disk quota exceeded'
    """
    text = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
    return text.strip().rstrip(".")
