"""The three views of histories as vectors: raw, as the augmenter edits them, and changed at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from laclrec_tf.data.random_views import random_view
from laclrec_tf.evaluation.augmenter_repairs import history_batches
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.masking import trim_padding


@dataclass(frozen=True, eq=False)
class ViewVectors:
    """User vectors of the same histories, a row each.

    Args:
        raw: `[U, D]` float, of the histories as they are.
        learned: `[U, D]`, of the histories after the augmenter.
        random: `[U, D]`, of a random view of each.
    """

    raw: np.ndarray
    learned: np.ndarray
    random: np.ndarray

    def similarity(self) -> dict[str, np.ndarray]:
        """Return the cosine of each `learned` and `random` vector with the raw one, and `learned_is_nearer`, all `[U]`.

        Nearer is what has the larger dot product, as the triplet loss counts it.

        Example:
            >>> raw, learned, random = (np.array([row], float) for row in ([2, 0], [1, 0], [0, 3]))
            >>> found = ViewVectors(raw, learned, random).similarity()
            >>> found["learned"].tolist(), found["random"].tolist(), found["learned_is_nearer"].tolist()
            ([1.0], [0.0], [True])
        """
        raw, learned, random = (_normalised(vectors) for vectors in (self.raw, self.learned, self.random))
        nearer = np.sum(self.raw * self.learned, axis=-1) > np.sum(self.raw * self.random, axis=-1)
        return {
            "learned": np.sum(raw * learned, axis=-1),
            "random": np.sum(raw * random, axis=-1),
            "learned_is_nearer": nearer,
        }

    def in_plane(self) -> tuple[ViewVectors, float]:
        """Project all vectors onto the plane in which the raw ones differ most (PCA), the same for all views.

        Returns:
            `[U, 2]` each, and the share of the raw vectors' variance that the plane shows.

        Example:
            >>> vectors = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
            >>> plane, share = ViewVectors(vectors, vectors, vectors).in_plane()
            >>> np.abs(plane.raw).round(3).tolist(), round(share, 3)
            ([[1.0, 0.0], [1.0, 0.0]], 1.0)
        """
        centre = self.raw.mean(axis=0)
        _, lengths, axes = np.linalg.svd(self.raw - centre, full_matrices=False)
        shown = ViewVectors(*((vectors - centre) @ axes[:2].T for vectors in (self.raw, self.learned, self.random)))
        return shown, float(np.sum(lengths[:2] ** 2) / np.sum(lengths**2))


def view_vectors(model: LACLRec, histories: Sequence[np.ndarray], seed: int = 0) -> ViewVectors:
    """Encode histories as they are, as the augmenter edits them, and cropped, masked or reordered at random.

    Args:
        model: has an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        seed: of the random views. Default: 0.

    Returns:
        The vectors, those of short histories first.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for number, history in enumerate(history_batches(histories)):
        view = random_view(history, mask_id=model.n_items + 2, seed=tf.constant([seed, number], tf.int64))
        views = (history, trim_padding(model.edit(history).edited), trim_padding(view))
        found.append(tuple(model(each, training=False).numpy() for each in views))
    return ViewVectors(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
