"""The items with the highest scores for a user vector, searched in the most promising partitions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.cluster.vq import kmeans2, vq

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.masking import pad_histories
from laclrec_tf.serving.retriever.exact_index import ExactIndex, best_of_blocks

ITERATIONS = 10
# k-means learns its centres on this many items per centre.
SAMPLE = 100
# Lists are padded to the longest one; a partition larger than this many times the mean is cut.
LARGEST = 1.5
DEFAULT_RECALL = 0.98
RECALL_AT = 20
INT8_LARGEST = 127.0


class PartitionedIndex(tf.Module):
    """Scores only the items of the partitions whose mean scores highest.

    Made of gathers, products and `top_k`, so that any TensorFlow serves it. The vectors are a copy: build a new index
    after more training.

    Args:
        vectors: `[N + 3, D]` float32; row `i` is item `i`.
        partitions: lists of items.
        n_probes: number of partitions to search, 1 to `P`. Default: all.
        int8: keep the vectors as 8-bit integers, each with its scale: a quarter of the memory, and scores with an
            error of about 0.5 percent. Default: False.

    Raises:
        InputError: `n_probes` is out of range.

    Example:
        >>> table = np.array([[0, 0], [1, 0], [0, 1], [2, 0], [0, 0], [0, 0]], np.float32)
        >>> lists = Partitions(np.array([[1.5, 0], [0, 1]], np.float32), np.array([[1, 3], [2, 0]], np.int32))
        >>> index = PartitionedIndex(table, lists, n_probes=1)
        >>> scores, item_ids = index.search(tf.constant([[1.0, 0.5]]), tf.constant(2))
        >>> item_ids.numpy().tolist(), scores.numpy().tolist()
        ([[3, 1]], [[2.0, 1.0]])
    """

    def __init__(
        self, vectors: np.ndarray, partitions: Partitions, n_probes: int | None = None, int8: bool = False
    ) -> None:
        """Store the vectors of each partition together."""
        super().__init__(name="partitioned_index")
        n_partitions = len(partitions.centres)
        n_probes = n_partitions if n_probes is None else n_probes
        if not 1 <= n_probes <= n_partitions:
            raise InputError(
                f"Argument `n_probes` must be between 1 and the {n_partitions} partitions. Received: {n_probes}."
            )
        self.n_partitions = n_partitions
        self.n_probes = n_probes
        self.int8 = int8
        self.scores_are_exact = not int8
        lists = vectors[partitions.item_ids]  # [P, W, D]
        self._centres = _constant(partitions.centres, tf.float32, "centres")
        self._item_ids = _constant(partitions.item_ids, tf.int32, "item_ids")
        if int8:
            scales = np.maximum(np.abs(lists).max(axis=-1), 1e-30) / INT8_LARGEST  # [P, W]
            lists = np.rint(lists / scales[..., np.newaxis])
            self._scales = _constant(scales, tf.float32, "scales")
        self._lists = _constant(lists, tf.int8 if int8 else tf.float32, "lists")

    def search(self, vectors: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Find about the `k` best items of each vector.

        Args:
            vectors: `[B, D]` float32.
            k: int32 scalar, at least 1.

        Returns:
            `(scores [B, K] float32, item_ids [B, K] int32)`, best first. `K` is at most `k` and at most the size of
            the searched partitions; `-inf` in a slot without an item.
        """
        width = tf.minimum(k, self.n_probes * self._item_ids.shape[1])

        def row_by_row() -> tuple[tf.Tensor, tf.Tensor]:  # the partitions of all rows at once could take gigabytes
            spec = (tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32))
            return tf.map_fn(lambda vector: self._search_one(vector, width), vectors, fn_output_signature=spec)

        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            return tf.zeros([0, width]), tf.zeros([0, width], tf.int32)

        return tf.cond(tf.equal(tf.shape(vectors)[0], 0), nothing, row_by_row)

    def _search_one(self, vector: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, probes = tf.math.top_k(tf.linalg.matvec(self._centres, vector), self.n_probes)
        item_ids = tf.reshape(tf.gather(self._item_ids, probes), [-1])  # [C]
        lists = tf.reshape(tf.gather(self._lists, probes), [-1, vector.shape[-1]])  # [C, D]
        scores = tf.linalg.matvec(tf.cast(lists, tf.float32), vector)
        if self.int8:
            scores *= tf.reshape(tf.gather(self._scales, probes), [-1])
        scores = tf.where(tf.equal(item_ids, PAD_ID), -np.inf, scores)
        best, places = best_of_blocks(scores[tf.newaxis], k)
        return best[0], tf.gather(item_ids, places[0])

    def recall(self, exact: ExactIndex, vectors: np.ndarray, k: int = RECALL_AT) -> float:
        """Return the share of the exact index's `k` best items that this index finds.

        Args:
            exact: index to compare with.
            vectors: `[B, D]` float32 user vectors.
            k: number of items. Default: 20.
        """
        queries, k_tensor = tf.constant(vectors, tf.float32), tf.constant(k)
        best_scores, best = (answer.numpy() for answer in exact.search(queries, k_tensor))
        # With fewer than `k` active items, some slots hold arbitrary ids.
        expected = [row[scores > -np.inf] for row, scores in zip(best, best_scores, strict=True)]
        found = self.search(queries, k_tensor)[1].numpy()
        shared = [np.intersect1d(*rows).size for rows in zip(found, expected, strict=True)]
        return float(np.sum(shared) / sum(map(len, expected)))

    def description(self, exact: ExactIndex, vectors: np.ndarray) -> dict[str, Any]:
        """Return what records of the index hold: `partitions`, `probes`, `int8` and its measured `recall@20`.

        Args:
            exact: index to compare with.
            vectors: `[B, D]` float32 user vectors.
        """
        return {
            "partitions": self.n_partitions,
            "probes": self.n_probes,
            "int8": self.int8,
            f"recall@{RECALL_AT}": round(self.recall(exact, vectors), 4),
        }


def _constant(values: np.ndarray, dtype: tf.DType, name: str) -> Any:
    # A variable: a constant would be part of the graph, which can hold 2 GB at most.
    return tf.Variable(values, trainable=False, dtype=dtype, name=name)


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
        item_ids: `[M]` int32, the items of the vectors.
        n_partitions: number of clusters, 1 to `M`; cutting adds partitions.
        seed: seed of the sample that k-means learns on. Default: 0.

    Returns:
        The partitions; each item is in one, none is empty.

    Raises:
        InputError: `n_partitions` is out of range.
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
    max_items = max(1, int(LARGEST * len(vectors) / n_partitions))
    order = np.argsort(nearest, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(nearest[order])) + 1)
    parts = [part for group in groups for part in _cut(vectors, group, max_items)]
    lists = pad_histories([item_ids[part] for part in parts])
    return Partitions(np.stack([vectors[part].mean(axis=0) for part in parts]).astype(np.float32), lists)


def _cut(vectors: np.ndarray, group: np.ndarray, max_items: int) -> list[np.ndarray]:
    """Cut a partition across the direction in which its items vary most."""
    if len(group) <= max_items:
        return [group]
    centred = vectors[group] - vectors[group].mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    in_order = group[np.argsort(centred @ directions[:, -1], kind="stable")]
    return list(np.array_split(in_order, -(-len(group) // max_items)))


def index_with_recall(
    exact: ExactIndex,
    partitions: Partitions,
    user_vectors: np.ndarray,
    recall: float = DEFAULT_RECALL,
    int8: bool = False,
) -> PartitionedIndex:
    """Build an index that searches as few partitions as a recall needs.

    Args:
        exact: index that finds the best items exactly, and has their vectors.
        partitions: lists of items.
        user_vectors: `[B, D]` float32, typical queries.
        recall: min share of the 20 best items that must be found, 0 to 1. Default: 0.98.
        int8: see `PartitionedIndex`. Default: False.

    Returns:
        The index. If even all partitions miss the recall, as 8-bit scores may, it searches all of them.
    """
    index = PartitionedIndex(np.array(exact.item_vectors()), partitions, int8=int8)
    low, high = 1, index.n_partitions
    while low < high:
        index.n_probes = (low + high) // 2
        if index.recall(exact, user_vectors) >= recall:
            high = index.n_probes
        else:
            low = index.n_probes + 1
    index.n_probes = high
    return index
