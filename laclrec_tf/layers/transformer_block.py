"""One transformer block: self-attention and a feed-forward layer, each with a residual."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor


@keras.saving.register_keras_serializable(package="laclrec_tf")
class TransformerBlock(keras.layers.Layer):
    """Self-attention, then a feed-forward layer, each behind dropout and a residual.

    Args:
        width: Size `D` of the hidden states.
        n_heads: Number of attention heads; divides `width`. Default: 2.
        feed_forward_width: Inner size of the feed-forward layer. Default: `4 * width`.
        dropout: Dropout rate of the attention weights and of both outputs. Default: 0.5.
        normalisation: "pre" (normalise the input of each part; the caller normalises the output) or "post"
            (normalise after each residual). Default: "post".
        activation: Activation of the feed-forward layer. Default: "gelu".

    Call arguments:
        hidden: `[B, L, D]` float.
        attention_mask: `[B, L, K]` bool, True = the query (axis 1) attends to the key (axis 2).
        context: `[B, K, D]` float, the states of the keys, if `hidden` holds only some of the positions.
            Default: `hidden`, so `K = L`.

    Returns:
        `[B, L, D]` float.

    Raises:
        ValueError: `n_heads` does not divide `width`, or `normalisation` is unknown.

    Example:
        >>> block = TransformerBlock(width=8)
        >>> block(keras.ops.ones([2, 3, 8]), keras.ops.ones([2, 3, 3], "bool")).shape
        TensorShape([2, 3, 8])

    Reference: Vaswani et al., 2017 (arXiv 1706.03762).
    """

    def __init__(
        self,
        width: int,
        n_heads: int = 2,
        feed_forward_width: int | None = None,
        dropout: float = 0.5,
        normalisation: str = "post",
        activation: str = "gelu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if width % n_heads:
            raise ValueError(
                f"Argument `width` must be a multiple of `n_heads`. Received: width={width}, n_heads={n_heads}."
            )
        if normalisation not in ("pre", "post"):
            raise ValueError(
                f"Argument `normalisation` must be 'pre' or 'post'. Received: normalisation={normalisation!r}."
            )
        self.width = width
        self.n_heads = n_heads
        self.feed_forward_width = feed_forward_width or 4 * width
        self.dropout = dropout
        self.normalisation = normalisation
        self.activation = activation
        policy = self.dtype_policy
        self.attention = keras.layers.MultiHeadAttention(
            n_heads, width // n_heads, dropout=dropout, dtype=policy, name="attention"
        )
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="attention_norm")
        self.feed_forward_in = keras.layers.Dense(
            self.feed_forward_width, activation, dtype=policy, name="feed_forward_in"
        )
        self.feed_forward_out = keras.layers.Dense(width, dtype=policy, name="feed_forward_out")
        self.feed_forward_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="feed_forward_norm")
        self.residual_dropout = keras.layers.Dropout(dropout, dtype=policy, name="residual_dropout")

    def build(self, hidden_shape: tuple[int | None, ...]) -> None:
        """Create the weights for hidden states of shape `[B, L, D]`."""
        self.attention.build(hidden_shape, hidden_shape)
        self.attention_norm.build(hidden_shape)
        self.feed_forward_in.build(hidden_shape)
        self.feed_forward_out.build((*hidden_shape[:-1], self.feed_forward_width))
        self.feed_forward_norm.build(hidden_shape)
        self.built = True

    def call(
        self,
        hidden: KerasTensor,
        attention_mask: KerasTensor,
        context: KerasTensor | None = None,
        training: bool | None = None,
    ) -> KerasTensor:
        """Return the block's output `[B, L, D]`."""
        pre = self.normalisation == "pre"
        queries = self.attention_norm(hidden) if pre else hidden
        if context is None:
            context = queries
        elif pre:
            context = self.attention_norm(context)
        attended = self.attention(queries, context, attention_mask=attention_mask, training=training)
        hidden = hidden + self.residual_dropout(attended, training=training)
        if not pre:
            hidden = self.attention_norm(hidden)
        inner = self.feed_forward_in(self.feed_forward_norm(hidden) if pre else hidden)
        hidden = hidden + self.residual_dropout(self.feed_forward_out(inner), training=training)
        return hidden if pre else self.feed_forward_norm(hidden)

    def compute_output_shape(self, hidden_shape: tuple[int | None, ...], *_args: Any) -> tuple[int | None, ...]:
        """Return the shape of the hidden states: the block keeps it."""
        return hidden_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "width": self.width,
            "n_heads": self.n_heads,
            "feed_forward_width": self.feed_forward_width,
            "dropout": self.dropout,
            "normalisation": self.normalisation,
            "activation": self.activation,
        }
