"""A model that recommends for a history as it is, or over its possible edits."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from keras import KerasTensor, ops

from laclrec_tf.layers.edit_mixture import EDITS, N_MIXED, NOT_CALIBRATED, EditMixture
from laclrec_tf.losses.cross_entropy import catalogue_logits
from laclrec_tf.models.arguments import as_history
from laclrec_tf.models.catalogue import Catalogue
from laclrec_tf.models.ranking_model import RankingModel
from laclrec_tf.ops.masking import pack_histories


class EditAwareModel(RankingModel):
    """Scores and recommendations of a model of user vectors.

    A subclass has `n_items`, `max_length`, `exclude_history`, a `catalogue` and a `mixture`. For right-padded histories
    `[B, L]` it has `user_vectors(history, training)`, `[B, D]`, and `edit_vectors(history, edits)`, `([B, V, D], [B])`.
    """

    edit_kinds: ClassVar = EDITS
    n_items: int
    max_length: int
    catalogue: Catalogue
    mixture: EditMixture

    @property
    def chosen_edits(self) -> str:
        """What gains most for this model: "none", "uniform" or "learned"; "none" without a calibration."""
        with tf.init_scope():  # also while a graph is traced
            return EDITS[max(0, int(self.mixture.choice))]

    def edit_scores(self, history: KerasTensor, edits: str = "learned") -> tuple[KerasTensor, KerasTensor, KerasTensor]:
        """Return what `mixture` reads of histories, see `EditMixture`.

        Args:
            history: `[B, L]` integer ids, right-padded with 0.
            edits: "uniform" or "learned". Default: "learned".

        Returns:
            The scores `[B, 4, N]` of the items, without PAD, EOS and MASK; those of the last two events, `[B, V, 2]`,
            for each of `edit_vectors`; and the noise level, `[B]`.
        """
        vectors, noise_level = self.edit_vectors(history, edits)
        vectors = ops.cast(vectors, "float32")
        table = self.catalogue.item_table
        scores = catalogue_logits(ops.reshape(vectors[:, :N_MIXED], (-1, vectors.shape[2])), table)
        events = ops.take(ops.convert_to_tensor(table), self.mixture.last_events(history), axis=0)  # [B, 2, D]
        event_scores = ops.matmul(vectors, ops.transpose(events, (0, 2, 1)))
        return ops.reshape(scores, (-1, N_MIXED, self.n_items)), event_scores, noise_level

    def scores_of(self, history: KerasTensor, edits: str = "chosen") -> KerasTensor:
        """Return catalogue scores of histories.

        Args:
            history: `[B, L]` integer ids, right-padded with 0.
            edits: "none" for the dot products of the history's user vector; "uniform" or "learned" for probabilities
                that are mixed over the history's edits, see `EditMixture`. Default: "chosen", see `chosen_edits`.

        Returns:
            `[B, N + 3]` float32; PAD, EOS and MASK have `-inf`.

        Raises:
            ValueError: `edits` is unknown, or is not "none" and the model was not calibrated, see `calibrate`.

        Example:
            >>> from laclrec_tf.models import LACLRec
            >>> model = LACLRec(n_items=20, width=8)
            >>> _ = model.mixture.choice.assign(1)  # as a calibration does
            >>> scores = model.scores_of(ops.array([[5, 6, 7], [9, 0, 0]]), edits="uniform")
            >>> ops.sum(scores[:, 1:-2], axis=1).numpy().round(4).tolist()
            [1.0, 1.0]
        """
        if edits not in ("chosen", *EDITS):
            raise ValueError(f"Argument `edits` must be one of chosen, {', '.join(EDITS)}. Received: edits={edits!r}.")
        edits = self.chosen_edits if edits == "chosen" else edits
        if edits == "none":
            return self.catalogue(self.user_vectors(history, training=False))
        with tf.init_scope():  # also while a graph is traced
            if int(self.mixture.choice) == NOT_CALIBRATED:
                raise ValueError(
                    f"Argument `edits` must be 'none' for a model that was not calibrated. Received: edits={edits!r}. "
                    "`laclrec-tf train` calibrates a model on 500 users or more, `calibrate` any model."
                )
        return ops.pad(self.mixed_probabilities(history, edits), [[0, 0], [1, 2]], constant_values=-float("inf"))

    def mixed_probabilities(self, history: KerasTensor, edits: str) -> KerasTensor:
        """Return the probabilities `[B, N]` of the items, mixed over the edits of histories `[B, L]`."""
        scores, event_scores, noise_level = self.edit_scores(history, edits)
        return self.mixture(scores, event_scores, history, noise_level, edits=edits)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Return user vectors `[U, D]` as `keras.Model.predict` does; lists and ragged tensors are padded."""
        if isinstance(x, (list, tuple, tf.RaggedTensor)) or hasattr(x, "columns"):  # Keras reads a table in its way
            x = as_history(x, self.n_items)
        return super().predict(x, *args, **kwargs)

    def recommend(
        self, history: KerasTensor, k: int = 10, exclude_history: bool | None = None, edits: str = "chosen"
    ) -> tuple[KerasTensor, KerasTensor]:
        """Recommend the next items.

        Args:
            history: `[B, L]` integer histories, see the call arguments.
            k: Max number of items. Default: 10.
            exclude_history: Whether to exclude the items of the whole history. Default: the model's `exclude_history`.
            edits: "none", "uniform" or "learned", see `scores_of`. Default: "chosen", see `chosen_edits`.

        Returns:
            `(item_ids [B, k], scores [B, k])`, int32 and float32, best first. Where the catalogue has fewer items left
            for a history, the places behind them hold 0 and `-inf`. Places that no history fills are left out, unless
            this is called in a graph.

        Raises:
            ValueError: `k` is below 1, `edits` is unknown, or a score is NaN because the model's weights are.
        """
        history = as_history(history, self.n_items)
        scores = self.scores_of(pack_histories(history, self.max_length), edits)
        exclude_history = self.exclude_history if exclude_history is None else exclude_history
        item_ids, scores = self.catalogue.best_of(scores, k, exclude=history if exclude_history else None)
        if not tf.executing_eagerly():
            return item_ids, scores
        if bool(ops.any(ops.isnan(scores))):
            raise ValueError(
                "The model's scores are NaN: its weights are broken. Train again with a lower learning rate."
            )
        width = int(ops.max(ops.sum(ops.cast(item_ids > 0, "int32"), axis=1))) if len(item_ids) else 0
        return item_ids[:, :width], scores[:, :width]
