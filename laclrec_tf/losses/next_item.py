"""Next-item cross-entropy over the whole catalogue."""

from __future__ import annotations

import keras
from keras import ops

NEVER = -1e9


def catalogue_logits(vectors, item_table, *, eos_allowed: bool = False):
    """Score vectors against every row of the table, the special tokens never.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.
        eos_allowed: EOS is a possible answer, as for the reverse generator. Default: False.

    Returns:
        `[P, N + 3]` float32, `-1e9` at PAD and MASK, and at EOS unless it is allowed.

    Example:
        >>> catalogue_logits(ops.ones([1, 2]), ops.ones([5, 2])).numpy().tolist()
        [[-1000000000.0, 2.0, 2.0, -1000000000.0, -1000000000.0]]
    """
    item_table = ops.convert_to_tensor(item_table)
    logits = ops.cast(ops.matmul(vectors, ops.transpose(item_table)), "float32")
    rows = ops.arange(ops.shape(item_table)[0])
    n_items = ops.shape(item_table)[0] - 3
    allowed = ops.logical_and(rows >= 1, rows <= n_items + int(eos_allowed))
    return ops.where(allowed[None, :], logits, NEVER)


def next_item_loss(vectors, item_table, targets, *, eos_allowed: bool = False):
    """Average the cross-entropy of each target over the whole catalogue.

    Give only real positions: padding costs a catalogue of logits a position.

    Args:
        vectors: `[P, D]` float, one for each position that has a target.
        item_table: `[N + 3, D]` float.
        targets: `[P]` integer ids, none of them PAD.
        eos_allowed: EOS is a possible answer. Default: False.

    Returns:
        Scalar float32, 0 when there are no positions.

    Example:
        >>> table = ops.zeros([7, 2])  # four items
        >>> round(float(next_item_loss(ops.ones([1, 2]), table, ops.array([3]))), 4)  # log 4
        1.3863

    Reference: SASRec's task with a full softmax; method of LACLRec (arXiv 2503.20232), next-item prediction.
    """
    logits = catalogue_logits(vectors, item_table, eos_allowed=eos_allowed)
    losses = keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    return ops.sum(losses) / ops.maximum(ops.cast(ops.shape(targets)[0], "float32"), 1.0)
