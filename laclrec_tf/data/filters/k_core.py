"""The k-core of an events table: remove users and items with few events until none are left to remove."""

from __future__ import annotations

import numpy as np
import polars as pl

from laclrec_tf.errors import InputError


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
