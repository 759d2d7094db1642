"""The retriever: item strings in, the best items and their scores out. An export saves its signatures."""

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
    dense_rows,
    for_each_row,
    rows_fit,
    slots,
)
from laclrec_tf.serving.retriever.lookup import ItemLookup, active_items, recent_known, unknown_items
from laclrec_tf.serving.retriever.mixed_selection import MixedSearch, MixedSelection
from laclrec_tf.serving.retriever.selection import NO_SCORE, ItemIndex, ItemSelection
from laclrec_tf.serving.retriever.signatures import (
    CountedModel,
    HistoryEditor,
    HistoryEmbedder,
    ItemSignatures,
    RetrievalModel,
)


class Retriever(tf.Module):
    """Recommends items for histories of item strings, with stock TensorFlow operations only.

    All signatures read a history the same way. The oldest item comes first. `""` is padding, at any place. Unknown
    items, invalid UTF-8 included, are skipped. The model reads the most recent `max_length` known items.
    Every known item of the history is excluded from the answer, also one too old to be read, unless `exclude_history`
    is False or the request says otherwise. A history without a known item gets the most popular items; their scores are
    shares of all training interactions and cannot be compared with a model's scores.

    PAD, EOS, MASK, retired and excluded items are never recommended; with an allow-list, only its items are. When fewer
    items are eligible than requested, the remaining slots hold `""` and the score -1e30; `filled` counts the others.

    A counted model, see `laclrec_tf.models.baselines`, has no user vectors and no item vectors, and therefore none of
    the signatures `embed_history`, `embed_items` and `similar_items`.

    The retriever reads the model's own variables, so answers follow further training. It holds no Keras object, so
    neither does the SavedModel. Keep a reference to the retriever while its signatures are called: a `tf.function`
    holds the object of its method weakly, so `Retriever(...).rank(...)` may fail.

    Args:
        model: trained model.
        vocabulary: items that the model was trained on.
        popularity: `[N]` number of training interactions of each item, by id from 1.
        retired: items that are read in histories but never recommended. Default: none.
        index: index that finds the best items of the catalogue, e.g. a `PartitionedIndex`. Default: all items are
            scored.
        edits: "none", "uniform" or "learned": whether predictions are mixed over the edits of each history. Scores are
            then probabilities. With an index they are estimated. Default: "none".
        exclude_history: whether items of a history are not recommended, unless a request says otherwise. Default: the
            model's `exclude_history`.

    Raises:
        InputError: model, vocabulary and popularity do not have the same number of items, or a retired item is
            unknown.

    Example:
        >>> from laclrec_tf.models import LACLRec
        >>> vocabulary = ItemVocabulary(["tent", "stove"])
        >>> retriever = Retriever(LACLRec(n_items=2, width=8), vocabulary, np.array([3, 1]))
        >>> answer = retriever.retrieve(tf.constant([["", ""]]), k=tf.constant(2), exclude=tf.constant([["stove"]]))
        >>> answer["item_ids"].numpy().tolist(), answer["filled"].numpy().tolist()
        ([[b'tent', b'']], [1])
    """

    def __init__(
        self,
        model: RetrievalModel | CountedModel,
        vocabulary: ItemVocabulary,
        popularity: np.ndarray,
        retired: Collection[str] = (),
        index: ItemIndex | None = None,
        edits: str = "none",
        exclude_history: bool | None = None,
    ) -> None:
        """Build lookup tables and indexes, and trace the signatures."""
        super().__init__(name="retriever")
        counts = np.asarray(popularity, dtype=np.float64)
        if model.n_items != vocabulary.n_items or counts.shape != (vocabulary.n_items,):
            raise InputError(
                "Arguments `model`, `vocabulary` and `popularity` must have the same number of items. "
                f"Received: {model.n_items}, {vocabulary.n_items} and {counts.size}. Take all three from one run."
            )
        self.vocabulary = vocabulary
        self.n_items = model.n_items
        self.max_length = model.max_length
        self.lookup = ItemLookup(vocabulary)
        active = active_items(vocabulary, retired)
        self.active_ids = (np.flatnonzero(active) + 1).astype(np.int32)
        self.retired_ids = tuple(vocabulary.to_ids(retired))
        shares = np.where(active, counts / max(counts.sum(), 1.0), -np.inf)
        popular = np.pad(shares, (1, 2), constant_values=-np.inf).astype(np.float32)
        self.edits = edits
        self.exclude_history = model.exclude_history if exclude_history is None else exclude_history
        self.selection: ItemSelection | MixedSelection | MixedSearch
        self.embedder: HistoryEmbedder | None = None
        self.about_items: ItemSignatures | None = None
        self.editor: HistoryEditor | None = None
        if isinstance(model, CountedModel):
            if edits != "none" or index is not None:
                raise InputError(
                    "Arguments `edits` and `index` need vectors, and a counted model has none. Remove them."
                )
            self.selection = MixedSelection(model.item_scores, popular, model.values_a_row)
        else:
            self._use_vectors(model, popular, active, index)
        self.retrieve = self._retrieve_signature()
        # The variables that the signatures read; nothing else is saved.
        self._weights = list(self.retrieve.get_concrete_function().variables)

    def _use_vectors(
        self, model: RetrievalModel, popularity: np.ndarray, active: np.ndarray, index: ItemIndex | None
    ) -> None:
        """Make what reads the vectors of histories and items."""
        edits = self.edits
        self.exact_index = ExactIndex(lambda: model.item_vectors, self.n_items, active)
        self.embedder = HistoryEmbedder(model, self.lookup)
        self.about_items = ItemSignatures(self.lookup, self.exact_index)
        self.editor = HistoryEditor(model, self.lookup) if model.has_augmenter else None
        self.embed_history = self.embedder.embed_history
        self.similar_items, self.embed_items = self.about_items.similar_items, self.about_items.embed_items
        if edits == "none":
            self.selection = ItemSelection(self.exact_index, popularity, index)
            return
        self.selection = MixedSelection(lambda item_ids: model.mixed_probabilities(item_ids, edits), popularity)
        if index is not None:
            self.selection = MixedSearch(self.selection, model, edits, index)

    def __repr__(self) -> str:
        retired = f", {len(self.retired_ids):,} of them retired" if self.retired_ids else ""
        return f"Retriever({self.n_items:,} items{retired}, reads the last {self.max_length} of a history)"

    @property
    def model_variables(self) -> list[tf.Variable]:
        """Weights of the model that recommendations depend on."""
        own = {id(variable) for variable in self.selection.variables}
        return [variable for variable in self._weights if id(variable) not in own]

    @property
    def signatures(self) -> dict[str, Any]:
        """Signatures of the SavedModel by name, each a `tf.function`; only those that the model has something for."""
        signatures: dict[str, Any] = {
            "serving_default": self.serving_default,
            "retrieve": self.retrieve,
            "rank": self.rank,
            "predict_examples": self.predict_examples,
        }
        if self.embedder is not None:
            signatures |= {name: getattr(self, name) for name in ("similar_items", "embed_history", "embed_items")}
        if self.editor is not None:
            signatures["augment"] = self.editor.augment
        return signatures

    @tf.function(input_signature=[HISTORY], autograph=False)
    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the ten best items; items of the history are excluded if `exclude_history` is True.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            Same outputs as `retrieve`.
        """
        return self._ten_best(history)

    def _retrieve_signature(self) -> Any:
        # A SavedModel keeps default values that are tensors. They are made here so that the import touches no device.
        ten, none, excludes = tf.constant(DEFAULT_K), tf.zeros([1, 0], tf.string), tf.constant(self.exclude_history)

        @tf.function(input_signature=[HISTORY, K, EXCLUDE, ALLOW, EXCLUDE_HISTORY], autograph=False)
        def retrieve(
            history: tf.Tensor,
            k: tf.Tensor = ten,
            exclude: tf.Tensor = none,
            allow: tf.Tensor = none,
            exclude_history: tf.Tensor = excludes,
        ) -> dict[str, tf.Tensor]:
            """Return the `k` best eligible items of each history.

            Args:
                history: `[B, S]` string, any `B` and `S`.
                k: int32, one number or `[B]`, at least 1; more than `N` is the same as `N`. Default: 10.
                exclude: `[B, E]` string, or `[1, E]` for the same exclusions in every row; any `E`. `""` and
                    unknown items exclude nothing. Default: none.
                allow: `[B, A]` or `[1, A]` string, the only items that may be recommended. A row that holds only `""`
                    allows all items; a row of unknown items allows none. Default: all.
                exclude_history: bool, one or `[B]`: never recommend an item of the history. Default: the model's.

            Returns:
                With `W` the largest `k`, but at most `N`:
                `item_ids` `[B, W]` string and `scores` `[B, W]` float32, best first;
                `filled` `[B]` int32, number of slots that hold an item;
                `unknown` `[B]` int32, number of unknown items in the history.

            Raises:
                InvalidArgumentError: a `k` is below 1, or an input has another number of rows than `history`.
            """
            batch = tf.shape(history)[0]
            k = at_least_one("k", k)
            history_ids = self.lookup.to_ids(history)
            with rows_fit("exclude", exclude, history), rows_fit("allow", allow, history):
                exclude_ids, allowed_ids = (self.lookup.to_ids(tf.identity(lists)) for lists in (exclude, allow))
            excludes_history = for_each_row("exclude_history", exclude_history, batch)[:, tf.newaxis]
            query, has_item = self._query(history_ids)
            scores, item_ids = self.selection.best(
                query,
                has_item,
                for_each_row("k", k, batch),
                slots(k, self.n_items, batch),
                [exclude_ids, tf.where(excludes_history, history_ids, PAD_ID)],
                allowed_ids,
                tf.reduce_any(tf.not_equal(allow, ""), axis=1),
            )
            return self.lookup.answer(scores, item_ids) | {"unknown": unknown_items(history, history_ids)}

        return retrieve

    @tf.function(input_signature=[HISTORY, CANDIDATES], autograph=False)
    def rank(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Score given items; items of the history are scored like all others.

        Args:
            history: `[B, S]` string, any `B` and `S`.
            candidates: `[B, C]` string, or `[1, C]` for the same candidates in every row.

        Returns:
            `scores` `[B, C]` float32 in the candidates' order;
            `eligible` `[B, C]` bool, False for `""`, an unknown or a retired item, whose score is -1e30;
            `unknown` `[B]` int32, number of unknown items in the history.
        """
        history_ids = self.lookup.to_ids(history)
        with rows_fit("candidates", candidates, history):
            candidate_ids = self.lookup.to_ids(tf.identity(candidates))
        scores = self.selection.scores(*self._query(history_ids), candidate_ids)
        eligible = scores > -np.inf
        scores = tf.where(eligible, scores, NO_SCORE)
        return {"scores": scores, "eligible": eligible, "unknown": unknown_items(history, history_ids)}

    @tf.function(input_signature=[EXAMPLES], autograph=False)
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the ten best items for histories given as serialised `tf.train.Example`.

        Args:
            examples: `[B]` string; the bytes feature `history` holds the items, oldest first. An example without
                this feature is an empty history.

        Returns:
            Same outputs as `retrieve`.
        """
        features = tf.io.parse_example(examples, {"history": tf.io.VarLenFeature(tf.string)})
        return self._ten_best(dense_rows("history", features["history"]))

    # A graph of its own: most requests use the defaults, which need less work than `retrieve`.
    @tf.function(input_signature=[HISTORY], autograph=False)
    def _ten_best(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        history_ids = self.lookup.to_ids(history)
        width = min(DEFAULT_K, self.n_items)
        k = tf.fill([tf.shape(history)[0]], width)
        excluded = history_ids if self.exclude_history else history_ids[:, :0]
        scores, item_ids = self.selection.best(*self._query(history_ids), k, tf.constant(width), [excluded])
        return self.lookup.answer(scores, item_ids) | {"unknown": unknown_items(history, history_ids)}

    def _query(self, history_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what the selection reads of each history, user vectors or ids, and whether it has a known item."""
        if self.edits == "none" and self.embedder is not None:
            return self.embedder.user_vectors(history_ids)
        return recent_known(history_ids, self.max_length), tf.reduce_any(tf.not_equal(history_ids, PAD_ID), axis=1)
