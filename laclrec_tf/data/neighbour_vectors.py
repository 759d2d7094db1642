"""Rows for new items, made of those of the items they are like or are met with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from laclrec_tf.data.item_vectors import cooccurrence_counts
from laclrec_tf.errors import InputError

WINDOW = 5
SHARE_OF_NORM = 0.85


def cooccurrence_weights(
    histories: Sequence[np.ndarray], n_items: int, n_new: int, *, window: int = WINDOW
) -> scipy.sparse.csr_array:
    """Count how often each new item stands near each old one, a pair `d` apart as `1 / d`.

    Args:
        histories: per user `[n]` integer ids, oldest first: `1..N` are old items, `N + 1..N + A` new ones.
        n_items: old items `N`.
        n_new: new items `A`.
        window: the largest distance that counts. Default: 5, as for `cooccurrence_vectors`.

    Returns:
        `[A, N]` float64, sparse.

    Raises:
        InputError: an id is not in `1..N + A`.

    Example:
        >>> cooccurrence_weights([np.array([1, 3, 2])], n_items=2, n_new=1).toarray().tolist()
        [[1.0, 1.0]]
    """
    return scipy.sparse.csr_array(cooccurrence_counts(histories, n_items + n_new, window)[n_items:, :n_items])


def neighbour_vectors(
    weights: scipy.sparse.csr_array, vectors: np.ndarray, *, share_of_norm: float = SHARE_OF_NORM
) -> tuple[np.ndarray, np.ndarray]:
    """Give each new item the direction of its neighbours' weighted mean.

    A mean is shorter than what it is made of, and scores are dot products: left as it is, an item is hardly ever
    recommended. Drawn out to its neighbours' mean norm it comes too often, since a mean points more squarely at what
    users want than any single row. With 0.85 of that norm, and rows made by `cooccurrence_weights`, items of Amazon
    Beauty that were taken for new got the places among the ten best, and the hits, of their own trained rows.

    An item without neighbours gets the mean of all rows. Its score is the mean of all scores, so it can never be the
    best, and items that nothing is known of do not crowd out others.

    Args:
        weights: `[A, N]` sparse, how much each old item is a neighbour of each new one, none below 0.
        vectors: `[N, D]` rows of the old items.
        share_of_norm: length of a new row as a share of its neighbours' weighted mean norm, above 0. Default: 0.85.

    Returns:
        `[A, D]` float32 rows, and `[A]` bool, True where there are neighbours.

    Raises:
        InputError: the shapes do not fit, or `share_of_norm` is not above 0.

    Example:
        >>> weights = scipy.sparse.csr_array([[3.0, 1.0], [0.0, 0.0]])
        >>> rows, found = neighbour_vectors(weights, np.array([[4.0, 0.0], [0.0, 4.0]]), share_of_norm=1)
        >>> rows.astype(float).round(2).tolist(), found.tolist()
        ([[3.79, 1.26], [2.0, 2.0]], [True, False])
    """
    if weights.shape[1] != len(vectors):
        raise InputError(
            "Arguments `weights` [A, N] and `vectors` [N, D] must have the same number of old items. "
            f"Received: {weights.shape[1]} and {len(vectors)}."
        )
    if share_of_norm <= 0:
        raise InputError(f"Argument `share_of_norm` must be above 0. Received: {share_of_norm}.")
    vectors = np.asarray(vectors, np.float64)
    totals = np.asarray(weights.sum(axis=1)).reshape(-1)
    found = totals > 0
    shares = scipy.sparse.diags_array(1 / np.where(found, totals, 1)) @ weights
    rows = shares @ vectors  # [A, D]
    wanted = share_of_norm * (shares @ np.linalg.norm(vectors, axis=1))
    norms = np.linalg.norm(rows, axis=1)
    # Neighbours that point in opposite directions leave no direction: such a row stays as short as it is.
    directed = norms > 1e-6 * wanted
    rows[directed] *= (wanted[directed] / norms[directed])[:, np.newaxis]
    rows[~found] = vectors.mean(axis=0)
    return rows.astype(np.float32), found
