"""What each gain of the training path is worth: the benchmark with one of them taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from laclrec_tf.data import batches
from laclrec_tf.layers import item_embedding
from laclrec_tf.losses import next_item
from laclrec_tf.training import setup


def _whole_softmax(
    vectors: Any, table: Any, targets: Any, specials: tuple[int, int] = (0, 0), weights: Any = None
) -> Any:
    """Cross-entropy with all logits `[P, C]` written out, differentiated by TensorFlow."""
    first, last = specials
    table = tf.cast(tf.convert_to_tensor(table), vectors.dtype)
    logits = tf.cast(tf.matmul(vectors, table[first : table.shape[0] - last], transpose_b=True), tf.float32)
    targets = tf.clip_by_value(tf.cast(targets, tf.int32) - first, 0, tf.shape(logits)[1] - 1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    weights = tf.ones_like(losses) if weights is None else weights
    return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))


def _rows_of_a_copy(table: Any, ids: tf.Tensor) -> tf.Tensor:
    """Look rows up in the whole table, read first."""
    return tf.gather(tf.convert_to_tensor(table), ids)


# Per gain: which names stand for what it replaced.
GAINS: dict[str, list[tuple[Any, str, Any]]] = {
    "softmax-slices": [(next_item, "catalogue_cross_entropy", _whole_softmax)],
    "fused-adam": [(setup, "LazyAdam", keras.optimizers.Adam)],
    # One bucket; Beauty's histories have 5.7 targets on average.
    "length-buckets": [(batches, "BOUNDARIES", []), (batches, "TYPICAL_LENGTHS", [5.7])],
    "row-lookups": [(item_embedding, "table_rows", _rows_of_a_copy)],
}


@contextmanager
def without(gain: str | None) -> Iterator[None]:
    """Take one gain back for a while.

    Args:
        gain: "softmax-slices": all logits are written out; "fused-adam": Keras's Adam in place of `LazyAdam`;
            "length-buckets": histories of all lengths share a batch; "row-lookups": the item table is read whole.
            None takes nothing back.

    Example:
        >>> with without("fused-adam"):
        ...     training_setup.LazyAdam is keras.optimizers.Adam
        True
    """
    kept = [(module, name, getattr(module, name)) for module, name, _ in GAINS.get(gain or "", [])]
    try:
        for module, name, replacement in GAINS.get(gain or "", []):
            setattr(module, name, replacement)
        yield
    finally:
        for module, name, original in kept:
            setattr(module, name, original)
