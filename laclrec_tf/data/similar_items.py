"""Each item's substitute for the "substitute" random view: the item it co-occurs with most often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laclrec_tf.errors import InputError


def similar_items(histories: Sequence[np.ndarray], n_items: int, window: int = 2) -> np.ndarray:
    """Find for each item the one that stands most often within `window` positions of it.

    Args:
        histories: per user `[n]` item ids `1..N`; give training parts only.
        n_items: catalogue size `N`.
        window: the largest distance that counts, at least 1. Default: 2.

    Returns:
        `[N + 3]` int32, indexed by id; of equally frequent items the smaller id. An item without neighbours,
        PAD, EOS and MASK stand for themselves.

    Raises:
        InputError: `window` is below 1, or an id is not in `1..N`.

    Example:
        >>> similar_items([np.array([1, 2]), np.array([3, 2, 1])], n_items=4, window=1).tolist()
        [0, 2, 1, 2, 4, 5, 6]
    """
    if window < 1:
        raise InputError(f"Argument `window` must be at least 1. Received: {window}.")
    similar = np.arange(n_items + 3, dtype=np.int32)
    items = np.concatenate([np.zeros(0, np.int32), *histories])
    if not items.size:
        return similar
    if items.min() < 1 or items.max() > n_items:
        raise InputError(
            f"Argument `histories` must hold ids from 1 to {n_items}. Received: {items.min()} to {items.max()}."
        )
    users = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    pairs, counts = _count_pairs(items, users, n_items, window)
    first, second = np.divmod(pairs, n_items + 1)
    item, other = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.lexsort([other, -np.concatenate([counts, counts]), item])
    found, best = np.unique(item[order], return_index=True)
    similar[found] = other[order][best]
    return similar


def _count_pairs(items: np.ndarray, users: np.ndarray, n_items: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `smaller id * (N + 1) + larger id` of the pairs that occur, and how often."""
    pairs, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for distance in range(1, window + 1):
        left, right = items[:-distance], items[distance:]
        valid = (users[:-distance] == users[distance:]) & (left != right)
        left, right = left[valid], right[valid]
        keys = np.minimum(left, right).astype(np.int64) * (n_items + 1) + np.maximum(left, right)
        # Merged after each distance, so that memory holds one distance's pairs, not all.
        new_pairs, new_counts = np.unique(keys, return_counts=True)
        pairs, place = np.unique(np.concatenate([pairs, new_pairs]), return_inverse=True)
        weights = np.concatenate([counts, new_counts])
        counts = np.bincount(place, weights, minlength=pairs.size).astype(np.int64)
    return pairs, counts
