"""Where the item table begins: vectors of items that stand in the same histories are near each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from laclrec_tf.errors import InputError


def cooccurrence_vectors(
    histories: Sequence[np.ndarray],
    n_items: int,
    width: int,
    *,
    window: int = 5,
    scale: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """Factorise how much more often than by chance two items stand near each other.

    An item's vector is its place in the `width` strongest directions (left singular vectors) of the items' positive
    pointwise mutual information. The directions are turned at random, so that no coordinate carries more than another.

    Args:
        histories: per user `[n]` integer ids `1..N`, oldest first; give training parts only.
        n_items: catalogue size `N`.
        width: size `D` of a vector.
        window: the largest distance that counts, at least 1. Default: 5.
        scale: root mean square of the numbers. Default: 0.1.
        seed: of the turn, and of the vectors of items without neighbours, normal with deviation 0.02. Default: 0.

    Returns:
        `[N, D]` float32, the vector of item 1 first.

    Raises:
        InputError: an argument is out of its range, or an id is not in `1..N`.

    Example:
        >>> cooccurrence_vectors([np.array([1, 2, 3]), np.array([3, 4])], n_items=4, width=2).shape
        (4, 2)

    Reference: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", 2014.
    """
    for name, value in (("n_items", n_items), ("width", width), ("window", window)):
        if value < 1:
            raise InputError(f"Argument `{name}` must be at least 1. Received: {value}.")
    if scale <= 0:
        raise InputError(f"Argument `scale` must be above 0. Received: {scale}.")
    information = mutual_information(histories, n_items, window)
    generator = np.random.default_rng(seed)
    vectors = generator.normal(scale=0.02, size=(n_items, width))
    met = np.flatnonzero(information.sum(axis=1))
    # The method finds one direction fewer than a matrix has rows.
    rank = min(width, n_items - 1)
    if rank and met.size:
        start = generator.normal(size=n_items)
        directions, strengths, _ = scipy.sparse.linalg.svds(information, k=rank, v0=start)
        directions = directions[:, strengths > 1e-9 * strengths.max()]
        # A direction and its opposite are equally good; which one is found depends on the processor.
        directions = directions * np.where(start @ directions < 0, -1, 1)
        turn, _ = np.linalg.qr(generator.normal(size=(width, width)))
        vectors[met] = directions[met] @ turn[: directions.shape[1]]
        vectors[met] *= scale / np.sqrt(np.mean(np.square(vectors[met])))
    return vectors.astype(np.float32)


def mutual_information(histories: Sequence[np.ndarray], n_items: int, window: int) -> scipy.sparse.csr_array:
    """Return how much more often than by chance items stand near each other: `max(0, log(P(i, j) / (P(i) P(j))))`.

    Args:
        histories: per user `[n]` integer ids `1..N`.
        n_items: catalogue size `N`.
        window: the largest distance that counts; a pair `d` apart counts `1 / d`.

    Returns:
        `[N, N]` float64, symmetric and sparse, item 1 first.

    Raises:
        InputError: an id is not in `1..N`.

    Example:
        >>> mutual_information([np.array([1, 2])], n_items=2, window=1).toarray().round(2).tolist()
        [[0.0, 0.69], [0.69, 0.0]]
    """
    counts = scipy.sparse.coo_array(cooccurrence_counts(histories, n_items, window))
    frequency = counts.sum(axis=1)
    chance = frequency[counts.row] * frequency[counts.col] / max(frequency.sum(), 1)
    information = np.maximum(np.log(counts.data / chance), 0)
    return scipy.sparse.csr_array((information, (counts.row, counts.col)), shape=counts.shape)


def cooccurrence_counts(histories: Sequence[np.ndarray], n_items: int, window: int) -> scipy.sparse.csr_array:
    """Count how often items stand near each other, a pair `d` apart as `1 / d`.

    Args:
        histories: per user `[n]` integer ids `1..N`.
        n_items: catalogue size `N`.
        window: the largest distance that counts.

    Returns:
        `[N, N]` float64, symmetric and sparse, item 1 first; an item is not counted with itself.

    Raises:
        InputError: an id is not in `1..N`.

    Example:
        >>> cooccurrence_counts([np.array([1, 2, 3])], n_items=3, window=2).toarray().tolist()
        [[0.0, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.0]]
    """
    items = np.concatenate([np.zeros(0, np.int32), *histories])
    if items.size and (items.min() < 1 or items.max() > n_items):
        raise InputError(
            f"Argument `histories` must hold ids from 1 to {n_items}. Received: {items.min()} to {items.max()}."
        )
    users = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    counts = scipy.sparse.csr_array((n_items, n_items))
    for distance in range(1, window + 1):
        left, right = items[:-distance] - 1, items[distance:] - 1
        pairs = (users[:-distance] == users[distance:]) & (left != right)
        weights = np.full(np.count_nonzero(pairs), 1 / distance)
        counts = counts + scipy.sparse.csr_array((weights, (left[pairs], right[pairs])), shape=(n_items, n_items))
    return counts + counts.T
