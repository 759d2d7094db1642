"""User vectors of the three views of histories: raw, learned (edited by the augmenter) and random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from laclrec_tf.data.random_views import random_view
from laclrec_tf.evaluation.augmenter_repairs import history_batches
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.masking import trim_padding


def view_vectors(model: LACLRec, histories: Sequence[np.ndarray], seed: int = 0) -> ViewVectors:
    """Encode histories unchanged, edited by the augmenter, and cropped, masked or reordered at random.

    Args:
        model: a model with an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        seed: seed of the random views. Default: 0.

    Returns:
        The vectors, those of short histories first.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for number, history in enumerate(history_batches(histories)):
        view = random_view(history, mask_id=model.n_items + 2, seed=tf.constant([seed, number], tf.int64))
        views = (history, trim_padding(model.edit(history).edited), trim_padding(view))
        # Not by calling the model, which would cut an edited history to `max_length`.
        found.append(tuple(model.user_vectors(each, training=False).numpy() for each in views))
    return ViewVectors(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@dataclass(frozen=True, eq=False)
class ViewVectors:
    """User vectors of the same histories, a row each.

    Args:
        raw: `[U, D]` float, vectors of the unchanged histories.
        learned: `[U, D]`, vectors of the histories edited by the augmenter.
        random: `[U, D]`, vectors of a random view of each history.
    """

    raw: np.ndarray
    learned: np.ndarray
    random: np.ndarray

    def similarity(self) -> dict[str, np.ndarray]:
        """Return the cosine of each `learned` and `random` vector with the raw one, and `learned_is_nearer`, all `[U]`.

        As in the triplet loss, the nearer vector is the one with the larger dot product.

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
        """Project all views onto the first two principal components of the raw vectors.

        Returns:
            The projections, `[U, 2]` each, and the share of the raw vectors' variance that they explain.

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


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
