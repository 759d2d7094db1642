"""The filters of `prepare`: their settings, the k-core, and what each of them dropped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from laclrec_tf.errors import InputError, LACLRecWarning

MIN_EVENTS, MAX_LENGTH = 5, 50
MUCH = 0.2  # a filter that drops a larger share of the events is worth a warning


@dataclass(frozen=True, kw_only=True)
class Filters:
    """The checked settings of `prepare` that choose events.

    Args:
        min_user_events: min number of events of a user; 0 or 1 keeps all.
        min_item_events: min number of events of an item; 0 or 1 keeps all.
        max_length: max number of events of a user, at least 3.
        duplicates: "drop" or "keep".

    Example:
        >>> Filters.of(min_interactions=2).settings()
        {'min_interactions': 2, 'max_length': 50, 'duplicates': 'drop'}
        >>> Filters.of(min_user_events=2).settings()
        {'min_user_events': 2, 'min_item_events': 5, 'max_length': 50, 'duplicates': 'drop'}
    """

    min_user_events: int
    min_item_events: int
    max_length: int
    duplicates: str

    @classmethod
    def of(
        cls,
        *,
        min_interactions: int | None = None,
        min_user_events: int | None = None,
        min_item_events: int | None = None,
        max_length: int = MAX_LENGTH,
        duplicates: str = "drop",
    ) -> Filters:
        """Check the arguments of `prepare`, and set both limits from one.

        Raises:
            InputError: an argument is out of its range, or `min_interactions` is given together with another limit.
        """
        limits = {
            "min_interactions": min_interactions,
            "min_user_events": min_user_events,
            "min_item_events": min_item_events,
        }
        given = {name: limit for name, limit in limits.items() if limit is not None}
        if min_interactions is not None and len(given) > 1:
            raise InputError(
                "Argument `min_interactions` sets the limits of users and of items. Received: "
                f"{', '.join(f'{name}={limit}' for name, limit in given.items())}. "
                "Give either --min-interactions, or --min-user-events and --min-item-events."
            )
        for name, limit in given.items():
            if limit < 0:
                raise InputError(f"Argument `{name}` must be at least 0. Received: {limit}.")
        if max_length < 3:
            raise InputError(
                "Argument `max_length` must be at least 3, to hold out two items and train on one. "
                f"Received: {max_length}."
            )
        if duplicates not in ("drop", "keep"):
            raise InputError(f"Argument `duplicates` must be 'drop' or 'keep'. Received: {duplicates!r}.")
        both = given.get("min_interactions", MIN_EVENTS)
        return cls(
            min_user_events=given.get("min_user_events", both),
            min_item_events=given.get("min_item_events", both),
            max_length=max_length,
            duplicates=duplicates,
        )

    def settings(self) -> dict[str, Any]:
        """Return the settings as `dataset.json` records and hashes them.

        Two equal limits are recorded as `min_interactions`, as they were before there were two, so the hash of such
        data stays what it was.
        """
        limits = {"min_user_events": self.min_user_events, "min_item_events": self.min_item_events}
        if self.min_user_events == self.min_item_events:
            limits = {"min_interactions": self.min_user_events}
        return limits | {"max_length": self.max_length, "duplicates": self.duplicates}


def k_core(events: pl.DataFrame, min_user_events: int, min_item_events: int | None = None) -> pl.DataFrame:
    """Keep the largest subset in which every user and every item has enough events.

    Removing an item's events can bring a user below the limit and vice versa, so both are removed repeatedly until
    nothing changes.

    Args:
        events: columns `user_id` and `item_id`, String or Enum, and any others.
        min_user_events: min number of events of a user; 0 or 1 keeps all.
        min_item_events: min number of events of an item. Default: None, `min_user_events`.

    Returns:
        The remaining rows, in their order.

    Raises:
        InputError: no events are left.

    Example:
        >>> events = pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxyx")})
        >>> k_core(events, 2).rows()
        [('a', 'x'), ('a', 'y'), ('b', 'x'), ('b', 'y')]
    """
    return k_core_and_dropped(events, min_user_events, min_item_events)[0]


def k_core_and_dropped(
    events: pl.DataFrame, min_user_events: int, min_item_events: int | None = None
) -> tuple[pl.DataFrame, int]:
    """Return the result of `k_core`, and the number of events dropped because their items were rare.

    The other dropped events are of users who had too few events, after those of rare items were dropped.

    Args:
        events: see `k_core`.
        min_user_events: see `k_core`.
        min_item_events: see `k_core`.

    Raises:
        InputError: no events are left.
    """
    if min_item_events is None:
        min_item_events = min_user_events
    users, items = _codes(events["user_id"]), _codes(events["item_id"])
    kept = np.arange(events.height)
    of_rare_items, before = 0, -1
    while kept.size and kept.size != before:
        before = kept.size
        kept = kept[np.bincount(items[kept])[items[kept]] >= min_item_events]
        of_rare_items += before - kept.size
        kept = kept[np.bincount(users[kept])[users[kept]] >= min_user_events]
    if kept.size:
        return (events if kept.size == events.height else events[kept]), of_rare_items
    user_counts, item_counts = np.unique_counts(users).counts, np.unique_counts(items).counts
    users_left, items_left = ((counts.size, int(counts.max(initial=0))) for counts in (user_counts, item_counts))
    raise InputError(nothing_left(min_user_events, min_item_events, *users_left, *items_left))


def nothing_left(
    min_user_events: int, min_item_events: int, n_users: int, max_of_user: int, n_items: int, max_of_item: int
) -> str:
    """Return the error message for an empty k-core.

    Args:
        min_user_events: see `k_core`.
        min_item_events: see `k_core`.
        n_users: number of users in the table.
        max_of_user: max number of events of a user.
        n_items: number of items in the table.
        max_of_item: max number of events of an item.
    """
    wanted, remedy = f"no users and items have at least {min_user_events} events each", "--min-interactions"
    if min_user_events != min_item_events:
        wanted = f"no users with at least {min_user_events} events have items with at least {min_item_events}"
        remedy = "--min-user-events or --min-item-events"
    return (
        f"No events are left: {wanted}. Received: {n_users} users with at most {max_of_user} events each and {n_items} "
        f"items with at most {max_of_item} events each. Lower {remedy}."
    )


def _codes(ids: pl.Series) -> np.ndarray:
    if ids.dtype != pl.Enum:
        ids = ids.cast(pl.Enum(ids.unique()))
    return ids.to_physical().to_numpy()


class DroppedEventsWarning(LACLRecWarning):
    """A filter of `prepare` drops more than a fifth of the events."""


@dataclass(frozen=True)
class Dropped:
    """What one filter dropped.

    Args:
        what: description of the events dropped.
        option: the option of `prepare`, with its value.
        remedy: how to keep more events.
        events: number of events dropped.
        users: number of users dropped; None for a filter that drops none.
        items: number of items dropped; None for a filter that drops none.
    """

    what: str
    option: str
    remedy: str
    events: int
    users: int | None = None
    items: int | None = None


def dropped_by_filter(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Dropped]:
    """Return what each filter dropped, in the order of the filters.

    Args:
        counts: the counts of `dataset.json`.
        settings: the settings of `dataset.json`, see `Filters.settings`.
    """
    least = {}
    for of in ("item", "user"):
        name = "min_interactions" if "min_interactions" in settings else f"min_{of}_events"
        least[of] = settings[name], f"--{name.replace('_', '-')} {settings[name]}"
    beyond = counts["items_beyond_max_length_dropped"]
    length = settings["max_length"]
    return [
        Dropped(
            "same user, item and time",
            f"--duplicates {settings['duplicates']}",
            "give --duplicates keep",
            counts["duplicates_dropped"],
        ),
        Dropped(
            f"items with fewer than {least['item'][0]} events",
            least["item"][1],
            "lower --min-item-events",
            counts["below_min_item_events_dropped"],
            items=counts["items_read"] - counts["items"] - beyond,
        ),
        Dropped(
            f"users with fewer than {least['user'][0]} events",
            least["user"][1],
            "lower --min-user-events",
            counts["below_min_user_events_dropped"],
            users=counts["users_read"] - counts["users"],
        ),
        Dropped(
            f"older than a user's last {length}",
            f"--max-length {length}",
            "raise --max-length",
            counts["beyond_max_length_dropped"],
            items=beyond,
        ),
    ]


def warn_of_dropped(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Warn of each filter that dropped more than a fifth of the events.

    Args:
        counts: see `dropped_by_filter`.
        settings: see `dropped_by_filter`.
    """
    for each in dropped_by_filter(counts, settings):
        share = each.events / counts["rows_read"]
        if share > MUCH:
            warnings.warn(
                f"{each.option} drops {each.events:,} of {counts['rows_read']:,} events ({share:.1%}): {each.what}. "
                f"To keep more, {each.remedy}.",
                DroppedEventsWarning,
                stacklevel=3,
            )
