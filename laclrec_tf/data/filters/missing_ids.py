"""Ids that stand for a missing value, such as `NA`, and collect the events of many users or items."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

import polars as pl

from laclrec_tf.errors import LACLRecWarning

WORDS = {
    *("na", "n/a", "#n/a", "nan", "nil", "null", "none", "-", "--", "-1", "?"),
    *("anonymous", "guest", "missing", "not_available", "not_set", "undefined", "unknown"),
}
ZEROS = re.compile("[0-]*0[0-]*")  # also a UUID of zeros
# A huge id has more than these times the mean of the others. A zero, which may be the first of honest numbers, also
# has more than these times the largest of them; a word more than the largest, or more than this share of all events.
TIMES, MUCH = 3, 0.01


class MissingIdsWarning(LACLRecWarning):
    """An id of very many events seems to stand for a missing value."""


def looks_missing(name: str) -> bool:
    """Return whether an id reads like a missing value.

    Args:
        name: the id.

    Example:
        >>> [name for name in ("NA", "(null)", "Nan", "0", "00000000-0000", "Nadia", "10") if looks_missing(name)]
        ['NA', '(null)', 'Nan', '0', '00000000-0000']
    """
    return _word(name) in WORDS or ZEROS.fullmatch(name) is not None


def _word(name: str) -> str:
    return name.strip(" ()<>[]'\"").lower().replace(" ", "_")


def warn_of_missing_ids(events: pl.DataFrame) -> None:
    """Warn of users and items whose id reads like a missing value and that have very many events.

    Args:
        events: columns `user_id` and `item_id`, String.
    """
    for of in ("user", "item"):
        counted = events[f"{of}_id"].value_counts(name="events")
        n_events = events.height
        # Few ids are read one by one: those of more events than the mean.
        large = counted.filter(pl.col("events") > n_events / counted.height)
        missing = {name: n for name, n in large.iter_rows() if looks_missing(name)}
        if missing:
            others = counted.filter(~pl.col(f"{of}_id").is_in(list(missing)))["events"]
            warn_of_huge_ids(of, missing, counted.height, n_events, int(others.to_numpy().max(initial=0)))


def warn_of_huge_ids(of: str, missing: Mapping[str, int], n_ids: int, n_events: int, max_of_other: int) -> None:
    """Warn of the ids that have very many events, among those that read like a missing value.

    Args:
        of: "user" or "item".
        missing: numbers of events of the ids that read like a missing value.
        n_ids: number of all ids.
        n_events: number of all events.
        max_of_other: max number of events of an id that does not read like a missing value.
    """
    for name, n in missing.items():
        above = n > max_of_other or n > MUCH * n_events if _word(name) in WORDS else n > TIMES * max_of_other
        if above and n * (n_ids - 1) > TIMES * (n_events - n):
            warnings.warn(
                f"The {of} {name!r} has {n:,} of {n_events:,} events ({n / n_events:.1%}; the largest other {of} has "
                f"{max_of_other:,}): the id seems to be missing there, and the events of different {of}s. Leave "
                "such rows out before; --drop-missing does it for NA, N/A, NaN, null and None.",
                MissingIdsWarning,
                stacklevel=4,
            )
