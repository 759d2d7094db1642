"""What can be exported: anything that turns histories into user vectors and has a table of items."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf


class RetrievalModel(Protocol):
    """What the retriever asks of a model; `laclrec_tf.models.LACLRec` has it."""

    n_items: int
    max_length: int
    has_augmenter: bool

    def __call__(self, history: tf.Tensor, training: bool) -> tf.Tensor:
        """Return user vectors `[B, D]` of histories `[B, L]`."""

    @property
    def item_vectors(self) -> tf.Tensor:
        """The table `[N + 3, D]`, row `i` of item `i`; a score is a user vector's dot product with a row."""

    def edit(self, history: tf.Tensor, decision: str) -> Any:
        """Return `operations`, `probabilities`, `insertions` and `edited` of histories `[B, L]`."""
