"""Signatures that do not recommend: vectors of histories and items, similar items, and the augmenter's edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.edits import INSERT, OPERATION_NAMES, inserted_items, surviving_operations
from laclrec_tf.ops.masking import is_item, pack_kept, trim_padding
from laclrec_tf.serving.retriever.exact_index import ExactIndex, top_items
from laclrec_tf.serving.retriever.inputs import DEFAULT_K, HISTORY, ITEMS, K, at_least_one, for_each_row, slots
from laclrec_tf.serving.retriever.lookup import ItemLookup, recent_known, unknown_items
from laclrec_tf.serving.retriever.selection import drop_listed, fill_slots


class RetrievalModel(Protocol):
    """What the retriever needs of a model; `laclrec_tf.models.LACLRec` provides it."""

    n_items: int
    max_length: int
    has_augmenter: bool
    exclude_history: bool

    def __call__(self, history: tf.Tensor, training: bool) -> tf.Tensor:
        """Return user vectors `[B, D]` of histories `[B, L]`."""

    @property
    def item_vectors(self) -> tf.Tensor:
        """The table `[N + 3, D]`, row `i` for item `i`; a score is the dot product of a user vector and a row."""

    def mixed_probabilities(self, history: tf.Tensor, edits: str) -> tf.Tensor:
        """Return the probabilities `[B, N]` of the items, mixed over the edits of right-padded histories `[B, L]`."""

    def edit_vectors(self, history: tf.Tensor, edits: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the vectors `[B, V, D]` of histories and the edits that `edits` needs, and the noise levels `[B]`."""

    @property
    def mixture(self) -> Any:
        """The `EditMixture`, which weighs the edits."""

    def edit(self, history: tf.Tensor, decision: str) -> Any:
        """Return `operations`, `probabilities`, `insertions` and `edited` of histories `[B, L]`."""


@runtime_checkable
class CountedModel(Protocol):
    """What the retriever needs of a model without vectors; `laclrec_tf.models.CountModel` provides it."""

    n_items: int
    max_length: int
    exclude_history: bool
    values_a_row: int

    def item_scores(self, history: tf.Tensor) -> tf.Tensor:
        """Return the scores `[B, N]` of the items for right-padded histories `[B, L]`."""


class HistoryEmbedder(tf.Module):
    """Turns histories into user vectors with the model's own variables, so the vectors follow further training.

    Args:
        model: trained model.
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
        """Keep what inference needs of the model."""
        super().__init__(name="history_embedder")
        self.max_length = model.max_length
        self.lookup = lookup
        # A function, because a Keras model set as an attribute would be saved with everything it holds.
        self._vectors: Callable[[tf.Tensor], tf.Tensor] = lambda ids: tf.cast(model(ids, training=False), tf.float32)

    @tf.function(input_signature=[HISTORY], autograph=False)
    def embed_history(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return user vectors to query an external index with: a score is the dot product with an item vector.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            `user_vectors` `[B, D]` float32, zero for a history without a known item;
            `unknown` `[B]` int32, number of unknown items in the history.
        """
        history_ids = self.lookup.to_ids(history)
        vectors, has_vector = self.user_vectors(history_ids)
        return {
            "user_vectors": tf.where(has_vector[:, tf.newaxis], vectors, 0.0),
            "unknown": unknown_items(history, history_ids),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def user_vectors(self, history_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return vectors of histories of ids.

        Args:
            history_ids: `[B, S]` int32, PAD anywhere; the most recent `max_length` items are read.

        Returns:
            `(vectors [B, D] float32, has_vector [B] bool)`; False where no item of the history is known.
        """
        vectors = self._vectors(recent_known(history_ids, self.max_length))
        return vectors, tf.reduce_any(tf.not_equal(history_ids, PAD_ID), axis=1)


class ItemSignatures(tf.Module):
    """Similar items and vectors of items.

    Args:
        lookup: string <-> id.
        index: holds the items' vectors and finds the best ones.

    Attributes:
        similar_items: items `[B]` string and `k` -> the nearest items of each by the cosine of their vectors.

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
        """Return item vectors, to build an external index.

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
            """Return the nearest items of each item by the cosine of their vectors; an item is not its own neighbour.

            Args:
                items: `[B]` string.
                k: int32, one number or `[B]`, at least 1. Default: 10.

            Returns:
                `item_ids`, `scores` and `filled` as `Retriever.retrieve` returns them, no item for an unknown one;
                `known` `[B]` bool.
            """
            item_ids = self.lookup.to_ids(items)
            known = tf.not_equal(item_ids, PAD_ID)
            batch = tf.shape(items)[0]
            width = slots(at_least_one("k", k), self.index.n_items, batch)
            k = tf.where(known, for_each_row("k", k, batch), 0)
            scores, found = self.index.search(self._vectors(item_ids), width + 1, cosine=True)
            scores = drop_listed(scores, found, [item_ids[:, tf.newaxis]])
            scores, found = fill_slots(*top_items(scores, found, width), k, width)
            return self.lookup.answer(scores, found) | {"known": known}

        return similar_items

    def _vectors(self, item_ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.convert_to_tensor(self.index.item_vectors()), item_ids)


class HistoryEditor(tf.Module):
    """Applies the augmenter's most likely decisions to histories of item strings; nothing is sampled.

    Args:
        model: trained model with an augmenter, see `RetrievalModel`.
        lookup: string <-> id.

    Example:
        >>> from laclrec_tf.item_vocabulary import ItemVocabulary
        >>> from laclrec_tf.models import LACLRec
        >>> lookup = ItemLookup(ItemVocabulary(["tent", "stove"]))
        >>> editor = HistoryEditor(LACLRec(n_items=2, width=8), lookup)
        >>> answer = editor.augment(tf.constant([["tent", "unknown", "stove"]]))
        >>> answer["history"].numpy().tolist(), answer["operations"].shape
        ([[b'tent', b'stove']], TensorShape([1, 2]))
    """

    def __init__(self, model: Any, lookup: ItemLookup) -> None:
        """Keep what inference needs of the model and trace `augment`."""
        super().__init__(name="history_editor")
        self.max_length: int = model.max_length
        self.eos_id: int = model.n_items + 1
        self.lookup = lookup
        # A function for the same reason as in `HistoryEmbedder`.
        self._edit: Callable[[tf.Tensor], Any] = lambda item_ids: model.edit(item_ids, decision="argmax")
        self._weights = list(self.augment.get_concrete_function().variables)

    @tf.function(input_signature=[HISTORY], autograph=False)
    def augment(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the operation for each known item, the inserted items and the edited history.

        Padding, unknown items and long histories are treated as by `Retriever`. An edited history is never
        empty: if all items would be deleted, the last one is kept and its operation is "keep". The edited history
        holds at most the most recent `max_edited_length` items.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            `history` `[B, L]` string, the known items that the model read; the columns of `operations`,
                `probabilities` and `inserted` align with it. `L` is the longest row's length, at least 1; `""` pads
                shorter rows at the end.
            `unknown` `[B]` int32, number of unknown items in the history.
            `operations` `[B, L]` string: "keep", "delete" or "insert"; `""` on padding.
            `probabilities` `[B, L, 3]` float32 of these three; 0 on padding.
            `inserted` `[B, L, K]` string: items inserted before an item, in reading order, then `""`.
            `edited_history` `[B, M]` string, `M` the longest row's length, at least 1; `""` pads shorter rows.
        """
        history_ids = self.lookup.to_ids(history)
        item_ids = recent_known(history_ids, self.max_length)
        edits = self._edit(item_ids)
        real = is_item(item_ids)  # [B, L]

        operations = surviving_operations(item_ids, tf.cast(edits.operations, tf.int32))
        names = tf.where(real, tf.gather(tf.constant(OPERATION_NAMES), operations), "")

        inserting = tf.logical_and(real, tf.equal(operations, INSERT))[..., tf.newaxis]
        runs = tf.where(inserting, inserted_items(edits.insertions, self.eos_id), PAD_ID)  # nearest first
        max_insertions = runs.shape[-1]
        in_order = tf.reshape(tf.reverse(runs, axis=[-1]), [-1, max_insertions])  # [B * L, K]
        in_order = tf.reshape(pack_kept(in_order, is_item(in_order), max_insertions), tf.shape(runs))

        return {
            "history": self.lookup.to_items(item_ids),
            "unknown": unknown_items(history, history_ids),
            "operations": names,
            "probabilities": tf.where(real[..., tf.newaxis], tf.cast(edits.probabilities, tf.float32), 0.0),
            "inserted": self.lookup.to_items(in_order),
            "edited_history": self.lookup.to_items(trim_padding(edits.edited)),
        }
