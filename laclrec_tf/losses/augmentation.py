"""The augmenter's two losses: which operation repairs an item, and which items are missing before it."""

from __future__ import annotations

import keras
from keras import KerasTensor, ops

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.replicas import share_of_mean


def operation_loss(logits: KerasTensor, operations: KerasTensor, mask: KerasTensor) -> KerasTensor:
    """Average the cross-entropy of KEEP / DELETE / INSERT over real positions.

    Args:
        logits: `[B, M, 3]` float.
        operations: `[B, M]` integer labels.
        mask: `[B, M]` bool, True = a real position.

    Returns:
        Scalar float, 0 when no position is real; inside a replica its share of the mean over all replicas.

    Example:
        >>> logits = ops.zeros([1, 2, 3])
        >>> round(float(operation_loss(logits, ops.array([[0, 2]]), ops.array([[True, False]]))), 4)  # log 3
        1.0986

    Reference: LACLRec (arXiv 2503.20232), training of the augmenter.
    """
    losses = keras.losses.sparse_categorical_crossentropy(operations, logits, from_logits=True)
    return _masked_mean(losses, mask)


def insertion_loss(logits: KerasTensor, insertions: KerasTensor) -> KerasTensor:
    """Average the cross-entropy of the missing items over insertion targets; EOS counts, PAD does not.

    Args:
        logits: `[..., K, C]` float over the table's ids.
        insertions: `[..., K]` integer ids, PAD where nothing is to be inserted.

    Returns:
        Scalar float, 0 when there is nothing to insert; inside a replica its share of the mean.

    Example:
        >>> round(float(insertion_loss(ops.zeros([1, 2, 4]), ops.array([[3, 0]]))), 4)  # log 4
        1.3863

    Reference: LACLRec (arXiv 2503.20232), training of the augmenter.
    """
    insertions = ops.convert_to_tensor(insertions)
    losses = keras.losses.sparse_categorical_crossentropy(insertions, logits, from_logits=True)
    return _masked_mean(losses, ops.not_equal(insertions, PAD_ID))


def _masked_mean(losses: KerasTensor, mask: KerasTensor) -> KerasTensor:
    weights = ops.cast(mask, losses.dtype)
    return share_of_mean(ops.sum(losses * weights), ops.sum(weights))
