"""The error for what a user can mend."""

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
