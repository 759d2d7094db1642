"""The items that score highest for a user vector, found in the partitions that promise most."""

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
# k-means learns its centres on this many items for each.
SAMPLE = 100
# Lists are padded to the longest one; a partition this many times the mean is cut.
LARGEST = 1.5
DEFAULT_RECALL = 0.98
RECALL_AT = 20
INT8_LARGEST = 127.0


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
    lists = pad_histories([item_ids[part] for part in parts])
    return Partitions(np.stack([vectors[part].mean(axis=0) for part in parts]).astype(np.float32), lists)


def _cut(vectors: np.ndarray, group: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut a partition across the direction in which its items differ most."""
    if len(group) <= most:
        return [group]
    centred = vectors[group] - vectors[group].mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    in_order = group[np.argsort(centred @ directions[:, -1], kind="stable")]
    return list(np.array_split(in_order, -(-len(group) // most)))


class PartitionedIndex(tf.Module):
    """Scores only the items of the partitions whose mean scores highest.

    Made of gathers, products and `top_k`, so that any TensorFlow serves it. The vectors are a copy: after more training
    the index must be made anew.

    Args:
        vectors: `[N + 3, D]` float32; row `i` is item `i`.
        partitions: which items lie together.
        n_probes: how many partitions are looked into, 1 to `P`. Default: all.
        int8: keep the vectors as 8-bit integers, each with its scale: a quarter of the memory, and scores that are
            right to about half a per cent. Default: False.

    Raises:
        InputError: `n_probes` is out of its range.

    Example:
        >>> from laclrec_tf.serving.retriever.partitioned_index import Partitions
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
        """Lay the vectors of a partition side by side."""
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
            `(scores [B, K] float32, item_ids [B, K] int32)`, best first, `K` at most `k` and at most what the
            partitions hold; `-inf` behind them.
        """
        most = tf.minimum(k, self.n_probes * self._item_ids.shape[1])

        def row_by_row() -> tuple[tf.Tensor, tf.Tensor]:  # the partitions of all rows at once could take gigabytes
            spec = (tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32))
            return tf.map_fn(lambda vector: self._search_one(vector, most), vectors, fn_output_signature=spec)

        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            return tf.zeros([0, most]), tf.zeros([0, most], tf.int32)

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
        """Return the share of the exact index's `k` best items that this one finds too.

        Args:
            exact: the index to compare with.
            vectors: `[B, D]` float32 user vectors.
            k: how many items. Default: 20.
        """
        asked, k_tensor = tf.constant(vectors, tf.float32), tf.constant(k)
        best_scores, best = (answer.numpy() for answer in exact.search(asked, k_tensor))
        # Fewer active items than `k` leave slots, whose ids mean nothing.
        expected = [row[scores > -np.inf] for row, scores in zip(best, best_scores, strict=True)]
        found = self.search(asked, k_tensor)[1].numpy()
        shared = [np.intersect1d(*rows).size for rows in zip(found, expected, strict=True)]
        return float(np.sum(shared) / sum(map(len, expected)))


def index_with_recall(
    exact: ExactIndex,
    partitions: Partitions,
    user_vectors: np.ndarray,
    recall: float = DEFAULT_RECALL,
    int8: bool = False,
) -> PartitionedIndex:
    """Look into as few partitions as a recall needs.

    Args:
        exact: finds the best items exactly, and has their vectors.
        partitions: which items lie together.
        user_vectors: `[B, D]` float32, what will be asked.
        recall: at least this share of the 20 best items must be found, 0 to 1. Default: 0.98.
        int8: see `PartitionedIndex`. Default: False.

    Returns:
        The index; when even all partitions miss the recall, as 8-bit scores may, it looks into all.
    """
    index = PartitionedIndex(np.array(exact.item_vectors()), partitions, int8=int8)
    least, most = 1, index.n_partitions
    while least < most:
        index.n_probes = (least + most) // 2
        if index.recall(exact, user_vectors) >= recall:
            most = index.n_probes
        else:
            least = index.n_probes + 1
    index.n_probes = most
    return index


def _constant(values: np.ndarray, dtype: tf.DType, name: str) -> Any:
    # A variable: constants would lie in the graph, which may hold 2 GB.
    return tf.Variable(values, trainable=False, dtype=dtype, name=name)
