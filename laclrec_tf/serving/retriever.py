"""The retriever: strings in, the best items and their scores out. This is what gets exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID, ItemVocabulary
from laclrec_tf.serving.history_editor import HistoryEditor
from laclrec_tf.serving.item_lookup import ItemLookup

DEFAULT_K = 10
HISTORY = tf.TensorSpec([None, None], tf.string, name="history")
K = tf.TensorSpec([], tf.int32, name="k")
EXCLUDE = tf.TensorSpec([None, None], tf.string, name="exclude")


class RetrievalModel(Protocol):
    """What the retriever asks of a model; `laclrec_tf.models.LACLRec` has it."""

    n_items: int
    max_length: int
    has_augmenter: bool

    def __call__(self, history: tf.Tensor, training: bool) -> tf.Tensor:
        """Return user vectors `[B, D]` of histories `[B, L]`."""

    def score(self, user_vectors: tf.Tensor) -> tf.Tensor:
        """Return scores `[B, N + 3]`; the column is the item id."""

    def edit(self, history: tf.Tensor, decision: str) -> Any:
        """Return `operations`, `probabilities`, `insertions` and `edited` of histories `[B, L]`."""


class Retriever(tf.Module):
    """Recommends items for histories of item strings, with stock TensorFlow operations only.

    All signatures read a history the same way: oldest item first, `""` is padding wherever it stands, unknown
    items (invalid UTF-8 included) are skipped, and of the known ones the most recent `max_length` are read.
    Every known item of the history is excluded from the answer, also those too old to be read. A history
    without a known item gets the most popular items; its scores are shares of all training interactions
    and not comparable with a model's scores.

    PAD, EOS, MASK and excluded items never come out. When fewer items are eligible than slots asked for, the
    slots left over hold `""` and `-inf`.

    The retriever reads the model's own variables: train on, and the answers follow. It holds no Keras object,
    so neither does the SavedModel.

    Args:
        model: a trained model.
        vocabulary: the items the model was trained on.
        popularity: `[N]` how often each item, by id from 1, was met in training.

    Raises:
        InputError: model, vocabulary and popularity do not have the same number of items.

    Example:
        >>> from laclrec_tf.models import LACLRec
        >>> vocabulary = ItemVocabulary(["tent", "stove"])
        >>> retriever = Retriever(LACLRec(n_items=2, width=8), vocabulary, np.array([3, 1]))
        >>> answer = retriever.retrieve(tf.constant([["", ""]]), tf.constant(2), tf.constant([["stove"]]))
        >>> answer["item_ids"].numpy().tolist(), answer["scores"].numpy().tolist()
        ([[b'tent', b'']], [[0.75, -inf]])
    """

    def __init__(self, model: RetrievalModel, vocabulary: ItemVocabulary, popularity: np.ndarray) -> None:
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
        # Functions, because a Keras model set as an attribute would be saved with everything it holds.
        self._scores: Callable[[tf.Tensor], tf.Tensor] = lambda ids: model.score(model(ids, training=False))
        shares = counts / max(counts.sum(), 1.0)
        self.popularity = tf.Variable(
            np.pad(shares, (1, 2), constant_values=-np.inf),
            trainable=False,
            dtype=tf.float32,
            name="popularity",
        )
        self.editor = HistoryEditor(model, self.lookup) if model.has_augmenter else None
        # The variables that the signatures read; nothing else is saved.
        self._weights = list(self.retrieve.get_concrete_function().variables)

    @property
    def signatures(self) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
        """The SavedModel's signatures by name; `augment` only for a model that has an augmenter."""
        signatures = {"serving_default": self.serving_default, "retrieve": self.retrieve}
        if self.editor is not None:
            signatures["augment"] = self.editor.augment
        return signatures

    @tf.function(input_signature=[HISTORY])
    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the ten best items, those of the history excluded.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            `item_ids` `[B, min(10, N)]` string and `scores` `[B, min(10, N)]` float32, best first.
        """
        return self._best(self.lookup.to_ids(history), tf.constant(DEFAULT_K), tf.zeros([1, 0], tf.int32))

    @tf.function(input_signature=[HISTORY, K, EXCLUDE])
    def retrieve(self, history: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the `k` best items, those of the history and of `exclude` left out.

        Args:
            history: `[B, S]` string, any `B` and `S`.
            k: int32 scalar, at least 1; more than `N` is the same as `N`.
            exclude: `[B, E]` string, or `[1, E]` for the same exclusions in every row; any `E`. `""` and
                unknown items exclude nothing.

        Returns:
            `item_ids` `[B, min(k, N)]` string and `scores` `[B, min(k, N)]` float32, best first.

        Raises:
            InvalidArgumentError: `k` is below 1, or `exclude` has another number of rows than `history`.
        """
        batch, rows = tf.shape(history)[0], tf.shape(exclude)[0]
        k_is_positive = tf.debugging.Assert(k >= 1, ["Input k must be at least 1. Received: k =", k])
        rows_fit = tf.debugging.Assert(
            tf.logical_or(tf.equal(rows, 1), tf.equal(rows, batch)),
            ["Input exclude must have one row, or as many as history. Received rows of both:", rows, batch],
        )
        with tf.control_dependencies([k_is_positive, rows_fit]):
            return self._best(self.lookup.to_ids(history), tf.identity(k), self.lookup.to_ids(exclude))

    def _best(self, history_ids: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = self._scores(self.lookup.recent_known(history_ids, self.max_length))  # [B, N + 3]
        nothing_known = tf.reduce_all(tf.equal(history_ids, PAD_ID), axis=1, keepdims=True)  # [B, 1]
        scores = tf.where(nothing_known, self.popularity[tf.newaxis, :], scores)

        scores = self._without(self._without(scores, history_ids), exclude_ids)
        scores, item_ids = tf.math.top_k(scores, tf.minimum(k, self.n_items))
        eligible = scores > -np.inf  # False for NaN too
        item_ids = tf.where(eligible, item_ids, PAD_ID)
        return {"item_ids": self.lookup.to_items(item_ids), "scores": tf.where(eligible, scores, -np.inf)}

    def _without(self, scores: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Set the scores `[B, N + 3]` of items to `-inf`; ids are `[B, E]`, or `[1, E]` for all rows."""
        # One row for all stays one row: copied to the batch it could take gigabytes.
        rows = tf.broadcast_to(tf.range(tf.shape(item_ids)[0])[:, tf.newaxis], tf.shape(item_ids))
        nothing = tf.zeros([tf.shape(item_ids)[0], self.n_items + 3], tf.bool)
        where = tf.stack([rows, item_ids], axis=-1)
        excluded = tf.tensor_scatter_nd_update(nothing, where, tf.ones(tf.shape(item_ids), tf.bool))
        return tf.where(excluded, -np.inf, scores)
