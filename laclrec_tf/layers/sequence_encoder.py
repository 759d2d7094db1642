"""The sequence encoder, shared by the augmenter and the recommender."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.layers.item_embedding import ItemEmbedding
from laclrec_tf.layers.transformer_block import TransformerBlock
from laclrec_tf.ops.masking import history_lengths


def attention_mask(item_ids: KerasTensor, causal: bool) -> KerasTensor:
    """Return which positions each position attends to.

    Args:
        item_ids: `[B, L]` integer ids; no position attends to PAD.
        causal: Whether a position attends only to itself and earlier positions.

    Returns:
        `[B, L, L]` bool, True = the query (axis 1) attends to the key (axis 2).

    Example:
        >>> attention_mask(ops.array([[7, 9, 0]]), causal=True)[0].numpy().tolist()
        [[True, False, False], [True, True, False], [True, True, False]]
    """
    keys = ops.not_equal(item_ids, PAD_ID)[:, None, :]  # [B, 1, L]
    position = ops.arange(ops.shape(item_ids)[1], dtype="int32")
    if causal:
        allowed = position[None, None, :] <= position[None, :, None]  # [1, L, L]
    else:
        allowed = position[None, None, :] == position[None, None, :]  # [1, 1, L], all True
        allowed = ops.logical_or(allowed, position[None, :, None] < 0)
    return ops.logical_and(keys, allowed)


@keras.saving.register_keras_serializable(package="laclrec_tf")
class SequenceEncoder(keras.layers.Layer):
    """Item and position embeddings, dropout, then transformer blocks.

    Args:
        n_items: Catalogue size `N`; the table has `N + 3` rows (PAD, items, EOS, MASK).
        max_length: Max number of positions. Default: 60.
        width: Size `D` of the hidden states. Default: 64.
        n_blocks: Number of transformer blocks. Default: 2.
        n_heads: Number of attention heads. Default: 2.
        dropout: Dropout rate after the embeddings and in the blocks. Default: 0.5.
        positions: Where positions are counted from: the "start" of the history, or its "end", where the most recent
            item has position 0. Default: "start".
        normalisation: "pre" or "post", see `TransformerBlock`. Default: "post".

    Call arguments:
        item_ids: `[B, L]` integer ids, right-padded with 0, `L <= max_length`.
        causal: Whether each position sees only itself and the past. Default: True.

    Returns:
        `[B, L, D]` float hidden states.

    Raises:
        ValueError: `positions` is unknown.

    Example:
        >>> encoder = SequenceEncoder(n_items=20, width=8)
        >>> encoder(ops.array([[5, 6, 0]])).shape
        TensorShape([1, 3, 8])

    Reference: SASRec (arXiv 1808.09781); LACLRec (arXiv 2503.20232), the shared encoder.
    """

    def __init__(
        self,
        n_items: int,
        max_length: int = 60,
        width: int = 64,
        n_blocks: int = 2,
        n_heads: int = 2,
        dropout: float = 0.5,
        positions: str = "start",
        normalisation: str = "post",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if positions not in ("start", "end"):
            raise ValueError(f"Argument `positions` must be 'start' or 'end'. Received: positions={positions!r}.")
        self.n_items = n_items
        self.max_length = max_length
        self.width = width
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.positions = positions
        self.normalisation = normalisation
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        policy = self.dtype_policy
        self.item_embedding = ItemEmbedding(n_items + 3, width, dtype=policy, name="item_embedding")
        self.position_embedding = keras.layers.Embedding(
            max_length, width, embeddings_initializer=initializer, dtype=policy, name="position_embedding"
        )
        self.embedding_dropout = keras.layers.Dropout(dropout, dtype=policy, name="embedding_dropout")
        block = {"n_heads": n_heads, "dropout": dropout, "normalisation": normalisation, "dtype": policy}
        self.blocks = [TransformerBlock(width, **block, name=f"block_{i}") for i in range(n_blocks)]

    def build(self, item_ids_shape: tuple[int | None, ...]) -> None:
        """Create the weights for ids of shape `[B, L]`."""
        self.item_embedding.build(item_ids_shape)
        self.position_embedding.build(item_ids_shape)
        for block in self.blocks:
            block.build((*item_ids_shape, self.width))
        self.built = True

    @property
    def item_table(self) -> keras.Variable:
        """The item embedding table, a `[N + 3, D]` float32 variable."""
        return self.item_embedding.embeddings

    def call(self, item_ids: KerasTensor, causal: bool = True, training: bool | None = None) -> KerasTensor:
        """Return hidden states `[B, L, D]`."""
        places = ops.arange(ops.shape(item_ids)[1], dtype="int32")[None, :]  # [1, L]
        position = self.position_of(places, history_lengths(item_ids))
        return self.encode(item_ids, position, attention_mask(item_ids, causal), training=training)

    def encode(
        self, item_ids: KerasTensor, position: KerasTensor, mask: KerasTensor, training: bool | None = None
    ) -> KerasTensor:
        """Return hidden states `[B, L, D]` of items at given positions.

        Args:
            item_ids: `[B, L]` integer ids.
            position: `[B, L]` or `[1, L]` int32, see `position_of`.
            mask: `[B, L, L]` bool, True = the query (axis 1) attends to the key (axis 2).
            training: Whether dropout is on. Default: None, as Keras decides.
        """
        hidden = self.item_embedding(item_ids, training=training) + self.position_embedding(position)
        hidden = self.embedding_dropout(hidden, training=training)
        for block in self.blocks:
            hidden = block(hidden, mask, training=training)
        return hidden

    def position_of(self, places: KerasTensor, lengths: KerasTensor) -> KerasTensor:
        """Return the positions, int32, of places counted from the start, `[B, P]` or `[1, P]`.

        Args:
            places: Integers from 0; the same shape.
            lengths: `[B]` int32, the lengths of the histories.
        """
        return ops.maximum(lengths[:, None] - 1 - places, 0) if self.positions == "end" else places

    def compute_output_shape(self, item_ids_shape: tuple[int | None, ...], *_args: Any) -> tuple[int | None, ...]:
        """Return `[B, L, D]`."""
        return (*item_ids_shape, self.width)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "n_items": self.n_items,
            "max_length": self.max_length,
            "width": self.width,
            "n_blocks": self.n_blocks,
            "n_heads": self.n_heads,
            "dropout": self.dropout,
            "positions": self.positions,
            "normalisation": self.normalisation,
        }
