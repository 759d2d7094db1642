"""The losses: next item, InfoNCE, triplet, and the augmenter's two."""

from laclrec_tf.losses.augmentation import insertion_loss, operation_loss
from laclrec_tf.losses.contrastive import info_nce, triplet_loss
from laclrec_tf.losses.next_item import next_item_loss

__all__ = ["info_nce", "insertion_loss", "next_item_loss", "operation_loss", "triplet_loss"]
