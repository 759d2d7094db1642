"""The losses: next item, InfoNCE, triplet, and the augmenter's two."""

from laclrec_tf.losses.augmentation import insertion_loss, operation_loss
from laclrec_tf.losses.catalogue_cross_entropy import catalogue_cross_entropy
from laclrec_tf.losses.contrastive import info_nce, triplet_loss
from laclrec_tf.losses.next_item import next_item_loss
from laclrec_tf.losses.sampled_softmax import sampled_softmax_loss

__all__ = [
    "catalogue_cross_entropy",
    "info_nce",
    "insertion_loss",
    "next_item_loss",
    "operation_loss",
    "sampled_softmax_loss",
    "triplet_loss",
]
