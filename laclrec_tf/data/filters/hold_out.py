"""Which events `prepare` holds out: the last ones of each user, those after a time, or those of a user's last session.

With "time", everything before `validation_from` is trained on, so the model is trained on nothing of a later day: the
global temporal split, e.g. of https://arxiv.org/abs/2507.16289. A user's first event from `validation_from` on is the
validation item, the first one from `test_from` on the test item, and the events before each are its history. With
"session", the items are the first ones of the user's last two sessions, so that the rest of a session or a basket does
not tell them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import polars as pl

from laclrec_tf.data.filters.settings import Filters
from laclrec_tf.data.timestamps import UnknownUnitWarning, parse_timestamps, units_in_a_second
from laclrec_tf.errors import InputError

HELD_OUT_SHARE = 0.1  # of all events, for each of validation and test, if no times are given


def mark_held_out(events: pl.DataFrame, filters: Filters) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Mark the events before each user's validation and test item, and drop those that the model does not read.

    Args:
        events: columns `user_id` and `timestamp`, sorted by both, and more.
        filters: settings with `hold_out` "time" or "session".

    Returns:
        The events with the Boolean columns `before_validation` and `before_test`, of each user the last
        `filters.max_kept` before the validation item and all later ones; and the counts "validation_from" and
        "test_from" for "time".

    Raises:
        InputError: a time cannot be read, or is not within those of the events.

    Example:
        >>> events = pl.DataFrame({"user_id": [1, 1, 1, 1, 2], "timestamp": [1, 2, 7, 8, 9]})
        >>> filters = Filters.of(hold_out="time", validation_from="7", test_from="8")
        >>> mark_held_out(events, filters)[0].select("before_validation", "before_test").rows()
        [(True, True), (True, True), (False, True), (False, False), (False, False)]
    """
    if filters.hold_out == "time":
        times = _times(events["timestamp"], filters)
        found = {f"{name}_from": time for name, time in zip(("validation", "test"), times, strict=True)}
        marks = [pl.col("timestamp") < time for time in times]
    else:
        found = {}
        gap = filters.session_gap * _units_of_gap(events["timestamp"], filters)
        is_first = (pl.col("timestamp") - pl.col("timestamp").shift().over("user_id") > gap).fill_null(True)
        events = events.with_columns(session=is_first.cum_sum().over("user_id"))
        session, n = pl.col("session"), pl.col("session").max().over("user_id")
        # All of one session is trained on; of two the first one, and the second one is of the test.
        before_test = pl.when(n == 1).then(True).otherwise(session < n)
        marks = [pl.when(n <= 2).then(before_test).otherwise(session < n - 1), before_test]
    events = events.with_columns(before_validation=marks[0], before_test=marks[1]).drop("session", strict=False)
    if filters.max_kept is not None:
        place = pl.int_range(pl.len()).over("user_id")
        events = events.filter(
            place >= pl.col("before_validation").sum().over("user_id").cast(pl.Int64) - filters.max_kept
        )
    return events, found


def _units_of_gap(numbers: pl.Series, filters: Filters) -> int:
    """Return how many units of these times are a second, or 1 with a warning where that is not known."""
    unit = units_in_a_second(numbers)
    if unit is None and filters.session_gap:
        warnings.warn(
            f"The times do not look like dates from 1989 to 2071, from {numbers.min()!r} to {numbers.max()!r}, so "
            f"--session-gap {filters.session_gap:g} counts in their unit, not in seconds.",
            UnknownUnitWarning,
            stacklevel=2,
        )
    return unit or 1


def _times(numbers: pl.Series, filters: Filters) -> tuple[Any, Any]:
    """Return the times from which events are of validation and of test."""
    if filters.test_from is None or filters.validation_from is None:
        ordered = numbers.sort()
        places = [int(ordered.len() * (1 - n * HELD_OUT_SHARE)) for n in (2, 1)]
        times = [ordered[place] for place in places]
    else:
        times = [_as_number(text, numbers) for text in (filters.validation_from, filters.test_from)]
    first, last = numbers.min(), numbers.max()
    if filters.test_from is None and not first < times[0] < times[1] <= last:
        raise InputError(
            "The newest events share too few times to hold out a tenth of them for validation and another for the "
            f"test. Give --validation-from and --test-from, from {time_text(first, numbers)} to "
            f"{time_text(last, numbers)}."
        )
    if not first < times[0] < times[1] <= last:
        shown = ", ".join(time_text(time, numbers) for time in times)
        raise InputError(
            "Arguments `validation_from` and `test_from` must be times after the first event, "
            f"{time_text(first, numbers)}, one after the other, and not after the last event, "
            f"{time_text(last, numbers)}. Received: {shown}. Give other times."
        )
    return times[0], times[1]


def _as_number(text: str, numbers: pl.Series) -> Any:
    """Return a time as a number in the unit of the events' times."""
    parsed = parse_timestamps(pl.Series([text]))
    if parsed.null_count():
        raise InputError(f"A time must be a number or a date such as 2024-05-31. Received: {text!r}.")
    if parsed.dtype.is_numeric():
        return parsed[0]
    unit = units_in_a_second(numbers)
    if unit is None:
        raise InputError(
            f"The times of the events do not look like dates, so {text!r} cannot be compared with them. Give a number "
            f"from {numbers.min()!r} to {numbers.max()!r}."
        )
    return parsed.dt.epoch("us")[0] * unit // 1_000_000


def time_text(number: Any, numbers: pl.Series) -> str:
    """Return a time as a date if the events' times look like dates, else as the number.

    Args:
        number: the time.
        numbers: the events' times.

    Example:
        >>> time_text(1_700_000_000, pl.Series([1_700_000_000])), time_text(7, pl.Series([7]))
        ('2023-11-14 22:13:20', '7')
    """
    unit = units_in_a_second(numbers)
    if unit is None:
        return str(number)
    moment = pl.Series([int(number * 1_000_000 // unit)]).cast(pl.Datetime("us"))
    return moment.dt.strftime("%Y-%m-%d %H:%M:%S").item()


def held_out_counts(histories: pl.DataFrame) -> dict[str, Any]:
    """Count the users with held-out items, and the test items that a strict training has not seen.

    Args:
        histories: `item_ids` (lists), `before_validation` and `before_test`, one row for each user.

    Returns:
        "validation_users", "test_users", and "unseen_test_items", a share of the test items.

    Raises:
        InputError: no user has a validation item, or none has a test item.
    """
    n, validation, test = pl.col("item_ids").list.len(), pl.col("before_validation"), pl.col("before_test")
    counts = histories.select(
        validation_users=((validation > 0) & (validation < test)).sum(), test_users=((test > 0) & (test < n)).sum()
    ).row(0, named=True)
    for name, users in counts.items():
        if not users:
            raise InputError(
                f"No user has a {name.partition('_')[0]} item with an event before it. Change --validation-from and "
                "--test-from, or --session-gap, or hold out each user's last events: --hold-out last."
            )
    trained = histories.select(pl.col("item_ids").list.head(validation)).explode("item_ids").drop_nulls().unique()
    tested = histories.filter((test > 0) & (test < n)).select(pl.col("item_ids").list.get(test))
    unseen = tested.join(trained, on="item_ids", how="anti").height / tested.height
    return {**counts, "unseen_test_items": unseen}


def held_out_line(counts: Mapping[str, Any]) -> str:
    """Return what is held out, in one line for people.

    Args:
        counts: the counts of `dataset.json` of data with another `hold_out` than "last".
    """
    since = ""
    if "test_from" in counts:
        times = pl.Series([counts["validation_from"], counts["test_from"]])
        since = " from {} and {} on".format(*(time_text(time, times) for time in times))
    return (
        f"held out{since}: a validation item of {counts['validation_users']:,} users and a test item of "
        f"{counts['test_users']:,}; {counts['unseen_test_items']:.1%} of the test items are in no training event"
    )
