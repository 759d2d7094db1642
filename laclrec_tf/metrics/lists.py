"""Properties of recommended lists other than accuracy: coverage, novelty and diversity."""

from __future__ import annotations

import numpy as np


def coverage(lists: np.ndarray, n_items: int) -> float:
    """Return the share of the catalogue that is in at least one list.

    Args:
        lists: `[U, k]` integer ids from 1; 0 is an empty place.
        n_items: number of items that may be recommended.

    Example:
        >>> coverage(np.array([[1, 2], [2, 3]]), n_items=6)
        0.5
    """
    return len(np.setdiff1d(lists, [0])) / n_items


def surprise(item_ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return how surprising each item is: `-log2` of its share of all events, in bits.

    Args:
        item_ids: integer ids from 1, any shape.
        counts: `[N]` events of each item in the training data; an item without events counts as one with one event.

    Example:
        >>> surprise(np.array([1, 2]), np.array([6, 2])).round(2).tolist()
        [0.42, 2.0]
    """
    share = np.maximum(counts, 1) / np.sum(counts)
    return -np.log2(share)[np.asarray(item_ids) - 1]


def novelty(lists: np.ndarray, counts: np.ndarray) -> float:
    """Return the mean surprise of all recommended items, in bits; empty places are ignored.

    Args:
        lists: `[U, k]` integer ids from 1; 0 is an empty place.
        counts: `[N]` events of each item in the training data.

    Example:
        >>> novelty(np.array([[1, 1], [2, 0]]), np.array([4, 4]))
        1.0
    """
    return float(np.mean(surprise(lists[lists > 0], counts)))


def intra_list_diversity(lists: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the mean of `1 - cosine` over all pairs of items of each list.

    Args:
        lists: `[U, k]` integer ids; 0 is an empty place.
        vectors: `[rows, D]` float, row `i` is item `i`.

    Returns:
        `[U]` float: 0 where all items point the same way, 1 where they are at right angles; NaN for lists of fewer
        than two items.

    Example:
        >>> vectors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
        >>> intra_list_diversity(np.array([[1, 3, 0], [1, 2, 3]]), vectors).round(3).tolist()
        [0.0, 0.667]
    """
    lists = np.asarray(lists)
    is_filled = lists > 0
    used, places = np.unique(lists, return_inverse=True)  # a catalogue's table may have far more rows
    units = np.asarray(vectors)[used].astype(np.float64)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    found = np.where(is_filled[..., np.newaxis], units[places.reshape(lists.shape)], 0.0)  # [U, k, D]
    # The square of a sum is the sum of all products: each pair twice, and each vector with itself, which is 1.
    itself = np.sum(found * found, axis=(1, 2))
    pairs = np.sum(np.sum(found, axis=1) ** 2, axis=1) - itself
    n = is_filled.sum(axis=1)
    n_pairs = np.where(n > 1, n * (n - 1.0), np.nan)
    return 1.0 - pairs / n_pairs
