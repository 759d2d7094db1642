"""Vectors of histories of item strings."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.serving.item_lookup import ItemLookup, unknown_items
from laclrec_tf.serving.retrieval_model import RetrievalModel
from laclrec_tf.serving.signature_specs import HISTORY


class HistoryEmbedder(tf.Module):
    """Turns histories into user vectors, with the model's own variables: train on, and the vectors follow.

    Args:
        model: the trained model.
        lookup: string -> id.

    Example:
        >>> from laclrec_tf.item_vocabulary import ItemVocabulary
        >>> from laclrec_tf.models import LACLRec
        >>> embedder = HistoryEmbedder(LACLRec(n_items=2, width=8), ItemLookup(ItemVocabulary(["tent", "stove"])))
        >>> answer = embedder.embed_history(tf.constant([["tent", "unknown"], ["", ""]]))
        >>> answer["unknown"].numpy().tolist(), answer["user_vectors"].shape
        ([1, 0], TensorShape([2, 8]))
    """

    def __init__(self, model: RetrievalModel, lookup: ItemLookup) -> None:
        """Take what inference needs of the model."""
        super().__init__(name="history_embedder")
        self.max_length = model.max_length
        self.lookup = lookup
        # A function, because a Keras model set as an attribute would be saved with everything it holds.
        self._vectors: Callable[[tf.Tensor], tf.Tensor] = lambda ids: tf.cast(model(ids, training=False), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def user_vectors(self, history_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return vectors of looked-up histories, and which rows have one.

        Args:
            history_ids: `[B, S]` int32, PAD anywhere; of the items the most recent `max_length` are read.

        Returns:
            `[B, D]` float32 and `[B]` bool, False where no item of the history is known.
        """
        vectors = self._vectors(self.lookup.recent_known(history_ids, self.max_length))
        return vectors, tf.reduce_any(tf.not_equal(history_ids, PAD_ID), axis=1)

    @tf.function(input_signature=[HISTORY], autograph=False)
    def embed_history(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return user vectors, to be asked of an index elsewhere: a score is the dot product with an item vector.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            `user_vectors` `[B, D]` float32, zero for a history without a known item; `unknown` `[B]` int32.
        """
        history_ids = self.lookup.to_ids(history)
        vectors, has_vector = self.user_vectors(history_ids)
        return {
            "user_vectors": tf.where(has_vector[:, tf.newaxis], vectors, 0.0),
            "unknown": unknown_items(history, history_ids),
        }
