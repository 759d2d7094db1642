"""The k-core of an events table: users and items with few events go, until none is left to go."""

from __future__ import annotations

import numpy as np
import polars as pl

from laclrec_tf.errors import InputError


def k_core(events: pl.DataFrame, min_interactions: int) -> pl.DataFrame:
    """Keep the largest part in which every user and every item has at least `min_interactions` events.

    Removing an item's events can bring a user below the bound and the other way round, so both are removed
    again and again until nothing changes.

    Args:
        events: columns `user_id` and `item_id`, String or Enum, and any others.
        min_interactions: the bound; 0 or 1 keeps everything.

    Returns:
        The rows kept, in their order.

    Raises:
        InputError: nothing remains.

    Example:
        >>> events = pl.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxyx")})
        >>> k_core(events, 2).rows()
        [('a', 'x'), ('a', 'y'), ('b', 'x'), ('b', 'y')]
    """
    users, items = _codes(events["user_id"]), _codes(events["item_id"])
    kept = np.arange(events.height)
    while kept.size:
        user_events = np.bincount(users[kept])[users[kept]]  # of each event's user
        item_events = np.bincount(items[kept])[items[kept]]
        enough = np.minimum(user_events, item_events) >= min_interactions
        if enough.all():
            return events if kept.size == events.height else events[kept]
        kept = kept[enough]
    user_counts, item_counts = np.unique_counts(users).counts, np.unique_counts(items).counts
    users_left, items_left = ((counts.size, int(counts.max(initial=0))) for counts in (user_counts, item_counts))
    raise InputError(nothing_left(min_interactions, *users_left, *items_left))


def nothing_left(min_interactions: int, n_users: int, most_of_user: int, n_items: int, most_of_item: int) -> str:
    """Say that the k-core of a table is empty, and of which table.

    Args:
        min_interactions: the bound.
        n_users: users of the table.
        most_of_user: events of the largest.
        n_items: items of the table.
        most_of_item: events of the largest.
    """
    return (
        f"No event is left: no users and items have at least {min_interactions} events each. Received: "
        f"{n_users} users, the largest with {most_of_user} events, and "
        f"{n_items} items, the largest with {most_of_item}. "
        "Give a lower --min-interactions."
    )


def _codes(ids: pl.Series) -> np.ndarray:
    if ids.dtype != pl.Enum:
        ids = ids.cast(pl.Enum(ids.unique()))
    return ids.to_physical().to_numpy()
