"""The layers: item embedding, transformer block, sequence encoder, reverse generator, sequence augmenter."""

from laclrec_tf.layers.item_embedding import ItemEmbedding
from laclrec_tf.layers.reverse_generator import ReverseGenerator
from laclrec_tf.layers.sequence_augmenter import SequenceAugmenter
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.layers.transformer_block import TransformerBlock

__all__ = ["ItemEmbedding", "ReverseGenerator", "SequenceAugmenter", "SequenceEncoder", "TransformerBlock"]
