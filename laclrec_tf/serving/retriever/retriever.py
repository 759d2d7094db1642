"""The retriever: strings in, the best items and their scores out. This is what gets exported."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID, ItemVocabulary
from laclrec_tf.serving.retriever.exact_index import ExactIndex
from laclrec_tf.serving.retriever.inputs import (
    ALLOW,
    CANDIDATES,
    DEFAULT_K,
    EXAMPLES,
    EXCLUDE,
    EXCLUDE_HISTORY,
    HISTORY,
    K,
    at_least_one,
    filled_up,
    for_each_row,
    rows_fit,
    slots,
)
from laclrec_tf.serving.retriever.lookup import ItemLookup, active_items, unknown_items
from laclrec_tf.serving.retriever.selection import ItemIndex, ItemSelection
from laclrec_tf.serving.retriever.signatures import HistoryEditor, HistoryEmbedder, ItemSignatures, RetrievalModel


class Retriever(tf.Module):
    """Recommends items for histories of item strings, with stock TensorFlow operations only.

    All signatures read a history the same way: oldest item first, `""` is padding wherever it stands, unknown
    items (invalid UTF-8 included) are skipped, and of the known ones the most recent `max_length` are read.
    Every known item of the history is excluded from the answer, also those too old to be read, unless the
    request says otherwise. A history without a known item gets the most popular items; its scores are shares of
    all training interactions and not comparable with a model's scores.

    PAD, EOS, MASK, retired and excluded items never come out, nor does one that an allow-list leaves out. When fewer
    items are eligible than slots asked for, the slots left over hold `""` and `-inf`; `filled` counts the others.

    The retriever reads the model's own variables: train on, and the answers follow. It holds no Keras object,
    so neither does the SavedModel. Keep it in a variable as long as a signature is called: a `tf.function` holds
    the object whose method it is weakly, and `Retriever(...).rank(...)` may find it gone.

    Args:
        model: a trained model.
        vocabulary: the items the model was trained on.
        popularity: `[N]` how often each item, by id from 1, was met in training.
        retired: items that are read in histories but never come out. Default: none.
        index: finds the best items of the catalogue, see `PartitionedIndex`. Default: all are scored.

    Raises:
        InputError: model, vocabulary and popularity do not have the same number of items, or a retired item is
            unknown.

    Example:
        >>> from laclrec_tf.models import LACLRec
        >>> vocabulary = ItemVocabulary(["tent", "stove"])
        >>> retriever = Retriever(LACLRec(n_items=2, width=8), vocabulary, np.array([3, 1]))
        >>> answer = retriever.retrieve(tf.constant([["", ""]]), k=tf.constant(2), exclude=tf.constant([["stove"]]))
        >>> answer["item_ids"].numpy().tolist(), answer["scores"].numpy().tolist()
        ([[b'tent', b'']], [[0.75, -inf]])
    """

    def __init__(
        self,
        model: RetrievalModel,
        vocabulary: ItemVocabulary,
        popularity: np.ndarray,
        retired: Collection[str] = (),
        index: ItemIndex | None = None,
    ) -> None:
        """Take what inference needs of the model and trace the signatures."""
        super().__init__(name="retriever")
        counts = np.asarray(popularity, dtype=np.float64)
        if model.n_items != vocabulary.n_items or counts.shape != (vocabulary.n_items,):
            raise InputError(
                "Arguments `model`, `vocabulary` and `popularity` must have the same number of items. "
                f"Received: {model.n_items}, {vocabulary.n_items} and {counts.size}. Take all from one run."
            )
        self.vocabulary = vocabulary
        self.n_items = model.n_items
        self.max_length = model.max_length
        self.lookup = ItemLookup(vocabulary)
        self.embedder = HistoryEmbedder(model, self.lookup)
        active = active_items(vocabulary, retired)
        self.retired_ids = tuple(vocabulary.to_ids(retired))
        self.exact_index = ExactIndex(lambda: model.item_vectors, self.n_items, active)
        shares = np.where(active, counts / max(counts.sum(), 1.0), -np.inf)
        popular = np.pad(shares, (1, 2), constant_values=-np.inf).astype(np.float32)
        self.selection = ItemSelection(self.exact_index, popular, index)
        self.editor = HistoryEditor(model, self.lookup) if model.has_augmenter else None
        self.embed_history, self._user_vectors = self.embedder.embed_history, self.embedder.user_vectors
        self.retrieve = self._retrieve_signature()
        about_items = ItemSignatures(self.lookup, self.exact_index)
        self.similar_items, self.embed_items = about_items.similar_items, about_items.embed_items
        # The variables that the signatures read; nothing else is saved.
        self._weights = list(self.retrieve.get_concrete_function().variables)

    def __repr__(self) -> str:
        retired = f", {len(self.retired_ids):,} of them retired" if self.retired_ids else ""
        return f"Retriever({self.n_items:,} items{retired}, reads the last {self.max_length} of a history)"

    @property
    def model_variables(self) -> list[tf.Variable]:
        """The model's weights that recommendations are made of."""
        own = {id(variable) for variable in self.selection.variables}
        return [variable for variable in self._weights if id(variable) not in own]

    @property
    def signatures(self) -> dict[str, Any]:
        """The SavedModel's signatures, `tf.function`s, by name; `augment` only for a model that has an augmenter."""
        signatures: dict[str, Any] = {
            "serving_default": self.serving_default,
            "retrieve": self.retrieve,
            "similar_items": self.similar_items,
            "embed_history": self.embed_history,
            "embed_items": self.embed_items,
            "rank": self.rank,
            "predict_examples": self.predict_examples,
        }
        if self.editor is not None:
            signatures["augment"] = self.editor.augment
        return signatures

    @tf.function(input_signature=[HISTORY], autograph=False)
    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the ten best items, those of the history excluded.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            As `retrieve`.
        """
        return self._ten_best(history)

    @tf.function(input_signature=[EXAMPLES], autograph=False)
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the ten best items of histories that come as serialised `tf.train.Example`.

        Args:
            examples: `[B]` string; the bytes feature `history` holds the items, oldest first. Without it the
                history is empty.

        Returns:
            As `retrieve`.
        """
        features = tf.io.parse_example(examples, {"history": tf.io.VarLenFeature(tf.string)})
        return self._ten_best(filled_up("history", features["history"]))

    @tf.function(input_signature=[HISTORY, CANDIDATES], autograph=False)
    def rank(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Score given items; those of the history are scored like the others.

        Args:
            history: `[B, S]` string, any `B` and `S`.
            candidates: `[B, C]` string, or `[1, C]` for the same candidates in every row.

        Returns:
            `scores` `[B, C]` float32 in the candidates' order, `-inf` for `""`, an unknown or a retired item;
            `unknown` `[B]` int32, how many items of the history are not known.
        """
        history_ids = self.lookup.to_ids(history)
        with rows_fit("candidates", candidates, history):
            candidate_ids = self.lookup.to_ids(tf.identity(candidates))
        vectors, has_vector = self._user_vectors(history_ids)
        scores = self.selection.scores(vectors, has_vector, candidate_ids)
        return {"scores": scores, "unknown": unknown_items(history, history_ids)}

    def _retrieve_signature(self) -> Any:
        # Defaults that a SavedModel keeps are tensors; made here, importing this module touches no device.
        ten, none, yes = tf.constant(DEFAULT_K), tf.zeros([1, 0], tf.string), tf.constant(True)

        @tf.function(input_signature=[HISTORY, K, EXCLUDE, ALLOW, EXCLUDE_HISTORY], autograph=False)
        def retrieve(
            history: tf.Tensor,
            k: tf.Tensor = ten,
            exclude: tf.Tensor = none,
            allow: tf.Tensor = none,
            exclude_history: tf.Tensor = yes,
        ) -> dict[str, tf.Tensor]:
            """Return the `k` best items, those of `exclude` left out.

            Args:
                history: `[B, S]` string, any `B` and `S`.
                k: int32, one number or `[B]`, at least 1; more than `N` is the same as `N`. Default: 10.
                exclude: `[B, E]` string, or `[1, E]` for the same exclusions in every row; any `E`. `""` and
                    unknown items exclude nothing. Default: none.
                allow: `[B, A]` or `[1, A]` string, the only items that may come. A row of nothing but `""` allows all;
                    one of unknown items allows none. Default: all.
                exclude_history: bool, one or `[B]`: the items of the history never come. Default: True.

            Returns:
                With `W` the largest `k`, but at most `N`:
                `item_ids` `[B, W]` string and `scores` `[B, W]` float32, best first;
                `filled` `[B]` int32, how many slots hold an item;
                `unknown` `[B]` int32, how many items of the history are not known.

            Raises:
                InvalidArgumentError: a `k` is below 1, or an input has another number of rows than `history`.
            """
            return self._recommend(history, k, exclude, allow, exclude_history)

        return retrieve

    @tf.function(input_signature=[HISTORY], autograph=False)
    def _ten_best(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `retrieve` with its defaults; a graph of its own, since it is asked most and has less to do."""
        history_ids = self.lookup.to_ids(history)
        vectors, has_vector = self._user_vectors(history_ids)
        width = min(DEFAULT_K, self.n_items)
        k = tf.fill([tf.shape(history)[0]], width)
        scores, item_ids = self.selection.best(vectors, has_vector, k, tf.constant(width), [history_ids])
        return self.lookup.answer(scores, item_ids) | {"unknown": unknown_items(history, history_ids)}

    def _recommend(
        self,
        history: tf.Tensor,
        k: tf.Tensor,
        exclude: tf.Tensor,
        allow: tf.Tensor,
        exclude_history: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        batch = tf.shape(history)[0]
        k = at_least_one("k", k)
        history_ids = self.lookup.to_ids(history)
        with rows_fit("exclude", exclude, history), rows_fit("allow", allow, history):
            exclude_ids, allowed_ids = (self.lookup.to_ids(tf.identity(lists)) for lists in (exclude, allow))
        excludes_history = for_each_row("exclude_history", exclude_history, batch)[:, tf.newaxis]
        vectors, has_vector = self._user_vectors(history_ids)
        scores, item_ids = self.selection.best(
            vectors,
            has_vector,
            for_each_row("k", k, batch),
            slots(k, self.n_items, batch),
            [exclude_ids, tf.where(excludes_history, history_ids, PAD_ID)],
            allowed_ids,
            tf.reduce_any(tf.not_equal(allow, ""), axis=1),
        )
        return self.lookup.answer(scores, item_ids) | {"unknown": unknown_items(history, history_ids)}
