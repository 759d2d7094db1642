"""The layers: item embedding, transformer block, encoders, generator, augmenter, deletion evidence, edit mixture."""

import laclrec_tf.ops  # noqa: F401  # checks the backend of Keras first
from laclrec_tf.layers.deletion_evidence import DeletionEvidence
from laclrec_tf.layers.edit_mixture import EditMixture
from laclrec_tf.layers.item_embedding import ItemEmbedding
from laclrec_tf.layers.reverse_generator import ReverseGenerator
from laclrec_tf.layers.sequence_augmenter import SequenceAugmenter
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.layers.transformer_block import TransformerBlock
from laclrec_tf.layers.user_encoder import UserEncoder

__all__ = [
    "DeletionEvidence",
    "EditMixture",
    "ItemEmbedding",
    "ReverseGenerator",
    "SequenceAugmenter",
    "SequenceEncoder",
    "TransformerBlock",
    "UserEncoder",
]
