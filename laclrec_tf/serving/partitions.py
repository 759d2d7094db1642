"""Items in partitions of near ones, none of them much larger than the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID

ITERATIONS = 10
# k-means learns its centres on this many items for each.
SAMPLE = 100
# Lists are padded to the longest one; a partition this many times the mean is cut.
LARGEST = 1.5


@dataclass(frozen=True)
class Partitions:
    """Lists of items and the mean vector of each.

    Args:
        centres: `[P, D]` float32.
        item_ids: `[P, W]` int32, PAD behind the ids of a partition.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]], np.float32)
        >>> partitions = partition(vectors, np.array([1, 2, 3]), n_partitions=2)
        >>> sorted(map(sorted, partitions.item_ids.tolist()))
        [[0, 2], [1, 3]]
    """

    centres: np.ndarray
    item_ids: np.ndarray

    def __repr__(self) -> str:
        count, width = self.centres.shape
        return f"Partitions({count:,} of {width} dimensions, up to {self.item_ids.shape[1]:,} items each)"


def partition(vectors: np.ndarray, item_ids: np.ndarray, n_partitions: int, seed: int = 0) -> Partitions:
    """Cluster items with k-means and cut partitions that are too large.

    Args:
        vectors: `[M, D]` float32.
        item_ids: `[M]` int32, the vectors' items.
        n_partitions: how many to begin with, 1 to `M`; cutting adds to them.
        seed: the same seed gives the same partitions. Default: 0.

    Returns:
        The partitions; each item is in one, none is empty.

    Raises:
        InputError: `n_partitions` is out of its range.
    """
    if not 1 <= n_partitions <= len(vectors):
        raise InputError(
            f"Argument `n_partitions` must be between 1 and the {len(vectors)} items. Received: {n_partitions}."
        )
    generator = np.random.default_rng(seed)
    learned_on = generator.permutation(len(vectors))[: SAMPLE * n_partitions]
    sample = vectors[learned_on].astype(np.float32)
    start = sample[:n_partitions]
    centres, _ = kmeans2(sample, start, iter=ITERATIONS, minit="matrix", missing="warn")
    nearest, _ = vq(vectors.astype(np.float32), centres)
    most = max(1, int(LARGEST * len(vectors) / n_partitions))
    order = np.argsort(nearest, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(nearest[order])) + 1)
    parts = [part for group in groups for part in _cut(vectors, group, most)]
    lists = np.full((len(parts), max(map(len, parts))), PAD_ID, np.int32)
    for row, part in zip(lists, parts, strict=True):
        row[: len(part)] = item_ids[part]
    return Partitions(np.stack([vectors[part].mean(axis=0) for part in parts]).astype(np.float32), lists)


def _cut(vectors: np.ndarray, group: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut a partition across the direction in which its items differ most."""
    if len(group) <= most:
        return [group]
    centred = vectors[group] - vectors[group].mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    in_order = group[np.argsort(centred @ directions[:, -1], kind="stable")]
    return list(np.array_split(in_order, -(-len(group) // most)))
