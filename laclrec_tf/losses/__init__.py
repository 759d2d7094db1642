"""The losses: cross-entropies of the next item and of the augmenter, InfoNCE and triplet."""

import laclrec_tf.ops  # noqa: F401  # checks the backend of Keras first
from laclrec_tf.losses.contrastive import info_nce, triplet_loss
from laclrec_tf.losses.cross_entropy import catalogue_cross_entropy, next_item_loss, operation_loss
from laclrec_tf.losses.sampled_softmax import sampled_softmax_loss

__all__ = [
    "catalogue_cross_entropy",
    "info_nce",
    "next_item_loss",
    "operation_loss",
    "sampled_softmax_loss",
    "triplet_loss",
]
