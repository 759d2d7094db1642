"""The signatures that are asked about items and not about histories."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.serving.exact_index import ExactIndex
from laclrec_tf.serving.item_lookup import ItemLookup
from laclrec_tf.serving.row_inputs import at_least_one, for_each_row, slots
from laclrec_tf.serving.signature_specs import DEFAULT_K, ITEMS, K


class ItemSignatures(tf.Module):
    """An item's neighbours, and its vector.

    Args:
        lookup: string <-> id.
        index: holds the items' vectors, and finds the best ones.

    Attributes:
        similar_items: items `[B]` string and `k` -> each one's nearest items by the cosine of their vectors.

    Example:
        >>> from laclrec_tf.item_vocabulary import ItemVocabulary
        >>> table = tf.constant([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
        >>> lookup = ItemLookup(ItemVocabulary(["tent", "tarp", "stove"]))
        >>> signatures = ItemSignatures(lookup, ExactIndex(lambda: table, 3))
        >>> signatures.similar_items(tf.constant(["tent"]), tf.constant(1))["item_ids"].numpy().tolist()
        [[b'tarp']]
    """

    def __init__(self, lookup: ItemLookup, index: ExactIndex) -> None:
        """Make the signatures."""
        super().__init__(name="item_signatures")
        self.lookup = lookup
        self.index = index
        self.similar_items = self._similar_items_signature()

    @tf.function(input_signature=[ITEMS], autograph=False)
    def embed_items(self, items: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return item vectors, to be put into an index elsewhere.

        Args:
            items: `[B]` string.

        Returns:
            `item_vectors` `[B, D]` float32, zero for an unknown item; `known` `[B]` bool.
        """
        item_ids = self.lookup.to_ids(items)
        known = tf.not_equal(item_ids, PAD_ID)
        return {"item_vectors": tf.where(known[:, tf.newaxis], self._vectors(item_ids), 0.0), "known": known}

    def _similar_items_signature(self) -> Any:
        ten = tf.constant(DEFAULT_K)

        @tf.function(input_signature=[ITEMS, K], autograph=False)
        def similar_items(items: tf.Tensor, k: tf.Tensor = ten) -> dict[str, tf.Tensor]:
            """Return each item's nearest items by the cosine of their vectors, itself left out.

            Args:
                items: `[B]` string.
                k: int32, one number or `[B]`, at least 1. Default: 10.

            Returns:
                `item_ids`, `scores` and `filled` as `Retriever.retrieve`; nothing for an unknown item. `known`
                `[B]` bool.
            """
            item_ids = self.lookup.to_ids(items)
            known = tf.not_equal(item_ids, PAD_ID)
            batch = tf.shape(items)[0]
            width = slots(at_least_one("k", k), self.index.n_items, batch)
            k = tf.where(known, for_each_row("k", k, batch), 0)
            scores, found = self.index.search(self._vectors(item_ids), width + 1, cosine=True)
            scores = tf.where(tf.equal(found, item_ids[:, tf.newaxis]), -np.inf, scores)
            scores, places = tf.math.top_k(scores, width)
            found = tf.gather(found, places, batch_dims=1)
            fills = tf.logical_and(scores > -np.inf, tf.sequence_mask(k, width))
            answer = self.lookup.answer(tf.where(fills, scores, -np.inf), tf.where(fills, found, PAD_ID))
            return answer | {"known": known}

        return similar_items

    def _vectors(self, item_ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.convert_to_tensor(self.index.item_vectors()), item_ids)
