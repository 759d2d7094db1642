"""What the augmenter most probably does to histories: nothing is drawn, so looking changes nothing."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import surviving_operations

# A missing item is looked for in the whole catalogue; one that is trained on a sample of it is too large for that.
MOST_CANDIDATES = 10_000


def likeliest_edits(model: LACLRec, history: tf.Tensor) -> Edits:
    """Edit histories with the likeliest operations, whatever the model's `decision`.

    Args:
        model: has an augmenter. With `n_negatives` only the items of the ids up to 10,000, the most frequent, are
            inserted.
        history: `[B, L]` integer ids, right-padded with 0.

    Returns:
        The edits, with KEEP for the last item of a history that would lose all.

    Example:
        >>> model = LACLRec(n_items=20, width=8)
        >>> likeliest_edits(model, tf.constant([[5, 6, 0]])).operations.shape
        TensorShape([1, 3])
    """
    candidates = None
    if model.n_negatives:
        candidates = np.arange(1, min(model.n_items, MOST_CANDIDATES) + 1, dtype=np.int32)
    edits = model.augmenter.edit(model.encoder, history, "argmax", candidates)
    return edits._replace(operations=surviving_operations(history, tf.cast(edits.operations, tf.int32)))
