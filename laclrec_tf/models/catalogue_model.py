"""A model that scores user vectors against a catalogue: in training, for ranking and for recommending."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from laclrec_tf.losses.next_item import catalogue_logits, label_smoothing_term, next_item_loss
from laclrec_tf.losses.sampled_softmax import draw_negatives, sampled_softmax_loss
from laclrec_tf.models.ranking_model import MultiTaskModel
from laclrec_tf.ops.masking import is_item


class CatalogueModel(MultiTaskModel):
    """Scores, recommendations and the cross-entropy over the catalogue.

    A subclass has `encoder.item_table` `[N + 3, D]` (PAD, items, EOS, MASK), `n_items` and `n_negatives`,
    and gives user vectors `[B, D]` when called with histories `[B, L]`.

    Args:
        seed: of the sampled negatives. Default: None, a random seed.
        **kwargs: passed on to `keras.Model`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negatives_seed = keras.random.SeedGenerator(seed)

    def initialise_items(self, vectors: np.ndarray) -> None:
        """Let the item table begin at vectors `[N, D]`, the one of item 1 first; PAD, EOS and MASK stay as they are.

        Raises:
            ValueError: `vectors` has another shape.
        """
        expected = (self.n_items, self.encoder.item_table.shape[1])
        if tuple(vectors.shape) != expected:
            raise ValueError(f"Argument `vectors` must have the shape {expected}. Received: {tuple(vectors.shape)}.")
        self.encoder.item_table.value[1:-2].assign(ops.cast(vectors, "float32"))

    @property
    def item_vectors(self) -> keras.Variable:
        """The table `[N + 3, D]` float32 that `score` multiplies user vectors with; row `i` is item `i`."""
        return self.encoder.item_table

    def score(self, user_vectors: KerasTensor) -> KerasTensor:
        """Return catalogue scores `[B, N + 3]` of user vectors `[B, D]`; PAD, EOS and MASK have `-inf`."""
        scores = catalogue_logits(ops.cast(user_vectors, "float32"), self.encoder.item_table)
        return ops.pad(scores, [[0, 0], [1, 2]], constant_values=-float("inf"))

    def recommend(
        self, history: KerasTensor, k: int = 10, exclude_history: bool = True
    ) -> tuple[KerasTensor, KerasTensor]:
        """Return the `k` best items of histories `[B, L]`: `(item_ids [B, k], scores [B, k])`, best first."""
        if k < 1:
            raise ValueError(f"Argument `k` must be at least 1. Received: k={k}.")
        scores = self.score(self(history, training=False))
        if exclude_history:
            rows = ops.broadcast_to(ops.arange(ops.shape(history)[0])[:, None], ops.shape(history))
            seen = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(history, (-1,))], axis=-1)
            scores = ops.scatter_update(scores, seen, ops.full((ops.size(history),), -float("inf")))
        scores, item_ids = ops.top_k(scores, min(k, self.n_items))
        return item_ids, scores

    def catalogue_loss(
        self,
        vectors: KerasTensor,
        targets: KerasTensor,
        weights: KerasTensor | None = None,
        eos_allowed: bool = False,
        label_smoothing: float = 0.0,
    ) -> KerasTensor:
        """Return the cross-entropy of targets `[P]` over the catalogue, or over a sample of it with `n_negatives`.

        Args:
            vectors: `[P, D]`.
            targets: `[P]` ids, PAD only where the weight is 0.
            weights: `[P]`. Default: 1 each.
            eos_allowed: EOS may be a target. Default: False.
            label_smoothing: share of each target's probability that is spread over the items. Default: 0.
        """
        table = self.encoder.item_table
        if not self.n_negatives:
            loss = next_item_loss(vectors, table, targets, weights=weights, eos_allowed=eos_allowed)
            if label_smoothing:
                loss += label_smoothing * label_smoothing_term(vectors, table, targets, weights=weights)
            return loss
        negatives = self.draw_negatives()
        return sampled_softmax_loss(vectors, table, targets, negatives, weights=weights, eos_allowed=eos_allowed)

    def draw_negatives(self) -> KerasTensor:
        """Draw `[n_negatives]` item ids, frequent ones more often."""
        uniform = keras.random.uniform((self.n_negatives,), dtype="float64", seed=self.negatives_seed)
        return draw_negatives(uniform, self.n_items)

    def sampled_candidates(self, item_ids: KerasTensor) -> KerasTensor:
        """Return `[n_negatives + P]` item ids: sampled ones, and those of `[...]` ids, `P` in all, 0 for padding."""
        item_ids = ops.reshape(item_ids, (-1,))
        # Padding is no item; in its place stands one that is a candidate anyway.
        item_ids = ops.where(is_item(item_ids), item_ids, item_ids[0])
        return ops.concatenate([self.draw_negatives(), item_ids])
