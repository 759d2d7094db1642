"""The recommender's own blocks: from the shared encoder's hidden states to user vectors."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.layers.sequence_encoder import attention_mask
from laclrec_tf.layers.transformer_block import TransformerBlock
from laclrec_tf.ops.masking import gather_last, history_lengths, is_item


@keras.saving.register_keras_serializable(package="laclrec_tf")
class UserEncoder(keras.layers.Layer):
    """Causal transformer blocks and a normalisation on top of the shared encoder.

    Args:
        width: Size `D` of the hidden states.
        n_blocks: Number of transformer blocks. Default: 1.
        n_heads: Number of attention heads. Default: 2.
        dropout: Dropout rate in the blocks. Default: 0.5.
        normalisation: "pre" or "post", see `TransformerBlock`. Default: "post".
        **kwargs: Passed on to `keras.layers.Layer`.

    Call arguments:
        hidden: `[B, L, D]` float, the encoder's hidden states under a causal mask.
        history: `[B, L]` integer ids, right-padded with 0.

    Returns:
        `[B, L, D]` float hidden states. The state at a position depends on the items up to that position only.

    Example:
        >>> layer = UserEncoder(width=8)
        >>> hidden, history = keras.ops.ones([1, 4, 8]), keras.ops.array([[5, 6, 7, 0]])
        >>> layer(hidden, history).shape, layer.user_vectors(hidden, history).shape
        (TensorShape([1, 4, 8]), TensorShape([1, 8]))

    Reference: SASRec (arXiv 1808.09781); LACLRec (arXiv 2503.20232), the recommender.
    """

    def __init__(
        self,
        width: int,
        n_blocks: int = 1,
        n_heads: int = 2,
        dropout: float = 0.5,
        normalisation: str = "post",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.normalisation = normalisation
        policy = self.dtype_policy
        self.blocks = [
            TransformerBlock(width, n_heads, dropout=dropout, normalisation=normalisation, dtype=policy)
            for _ in range(n_blocks)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy)

    def build(self, hidden_shape: tuple[int | None, ...], history_shape: tuple[int | None, ...] | None = None) -> None:
        """Create the weights for hidden states of shape `[B, L, D]`."""
        for block in self.blocks:
            block.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.built = True

    def call(self, hidden: KerasTensor, history: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return the hidden states at all positions, `[B, L, D]`."""
        mask = attention_mask(history, causal=True)
        for block in self.blocks:
            hidden = block(hidden, mask, training=training)
        return self.norm(hidden)

    def user_vectors(self, hidden: KerasTensor, history: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return user vectors `[B, D]`, the states at the last item, without the last block's other positions."""
        lengths = history_lengths(history)
        if not self.blocks:
            return gather_last(self(hidden, history, training=training), lengths)
        mask = attention_mask(history, causal=True)
        for block in self.blocks[:-1]:
            hidden = block(hidden, mask, training=training)
        last, is_key = gather_last(hidden, lengths)[:, None], is_item(history)[:, None]
        last = self.blocks[-1](last, is_key, context=hidden, training=training)
        return self.norm(last[:, 0])

    def vectors_at(self, hidden: KerasTensor, mask: KerasTensor, places: KerasTensor | None = None) -> KerasTensor:
        """Return the states at some places. Dropout is off, and the last block computes no other places.

        Args:
            hidden: `[B, L, D]` float, the encoder's hidden states.
            mask: `[B, L, L]` bool, True = the query (axis 1) attends to the key (axis 2).
            places: `[B, P]` int32. Default: None, all places.

        Returns:
            `[B, P, D]` float.
        """
        for block in self.blocks[:-1] if places is not None else self.blocks:
            hidden = block(hidden, mask, training=False)
        if places is None:
            return self.norm(hidden)
        vectors = ops.take_along_axis(hidden, places[..., None], axis=1)
        if self.blocks:
            seen = ops.take_along_axis(mask, places[..., None], axis=1)
            vectors = self.blocks[-1](vectors, seen, context=hidden, training=False)
        return self.norm(vectors)

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_args: Any) -> tuple[int | None, ...]:
        """Return the shape of the hidden states, which stays the same."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "width": self.width,
            "n_blocks": self.n_blocks,
            "n_heads": self.n_heads,
            "dropout": self.dropout,
            "normalisation": self.normalisation,
        }
