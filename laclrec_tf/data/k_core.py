"""The k-core of an events table: remove users and items with few events until none are left to remove."""

from __future__ import annotations

import numpy as np
import polars as pl

from laclrec_tf.errors import InputError


def k_core(events: pl.DataFrame, min_interactions: int) -> pl.DataFrame:
    """Keep the largest subset in which every user and every item has at least `min_interactions` events.

    Removing an item's events can bring a user below the limit and vice versa, so both are removed repeatedly until
    nothing changes.

    Args:
        events: columns `user_id` and `item_id`, String or Enum, and any others.
        min_interactions: min number of events of a user and of an item; 0 or 1 keeps everything.

    Returns:
        The remaining rows, in their order.

    Raises:
        InputError: no events are left.

    Example:
        >>> events = pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxyx")})
        >>> k_core(events, 2).rows()
        [('a', 'x'), ('a', 'y'), ('b', 'x'), ('b', 'y')]
    """
    users, items = _codes(events["user_id"]), _codes(events["item_id"])
    kept = np.arange(events.height)
    while kept.size:
        user_events = np.bincount(users[kept])[users[kept]]  # number of events of each event's user
        item_events = np.bincount(items[kept])[items[kept]]
        enough = np.minimum(user_events, item_events) >= min_interactions
        if enough.all():
            return events if kept.size == events.height else events[kept]
        kept = kept[enough]
    user_counts, item_counts = np.unique_counts(users).counts, np.unique_counts(items).counts
    users_left, items_left = ((counts.size, int(counts.max(initial=0))) for counts in (user_counts, item_counts))
    raise InputError(nothing_left(min_interactions, *users_left, *items_left))


def nothing_left(min_interactions: int, n_users: int, max_of_user: int, n_items: int, max_of_item: int) -> str:
    """Return the error message for an empty k-core.

    Args:
        min_interactions: see `k_core`.
        n_users: number of users in the table.
        max_of_user: max number of events of a user.
        n_items: number of items in the table.
        max_of_item: max number of events of an item.
    """
    return (
        f"No events are left: no users and items have at least {min_interactions} events each. Received: "
        f"{n_users} users with at most {max_of_user} events each and {n_items} items with at most {max_of_item} events "
        "each. Lower --min-interactions."
    )


def _codes(ids: pl.Series) -> np.ndarray:
    if ids.dtype != pl.Enum:
        ids = ids.cast(pl.Enum(ids.unique()))
    return ids.to_physical().to_numpy()
