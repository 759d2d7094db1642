"""The reverse generator: decodes the run of items missing before an item, nearest first."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="laclrec_tf")
class ReverseGenerator(keras.layers.Layer):
    """A one-block causal decoder started by an item's hidden state.

    Its first input is the hidden state of the item that something is missing before; the next inputs are the
    embeddings of the items generated so far, nearest first. Output `j` predicts the run's item `j`, or EOS.

    Args:
        width: size `D`.
        max_insertions: longest run `K`. Default: 5.
        n_heads: attention heads. Default: 2.
        dropout: rate in the block. Default: 0.5.
        normalisation: "pre" or "post", see `TransformerBlock`. Default: "post".

    Call arguments:
        context: `[P, D]` hidden states of the items labelled INSERT.
        run: `[P, J, D]` embeddings of the items so far, `0 <= J < K`.

    Returns:
        `[P, J + 1, D]`, to be compared with the item embedding table.

    Example:
        >>> generator = ReverseGenerator(width=8)
        >>> generator(ops.ones([3, 8]), ops.ones([3, 2, 8])).shape
        TensorShape([3, 3, 8])

    Reference: LACLRec (arXiv 2503.20232), the augmenter's insertion; STEAM (arXiv 2309.16152).
    """

    def __init__(
        self,
        width: int,
        max_insertions: int = 5,
        n_heads: int = 2,
        dropout: float = 0.5,
        normalisation: str = "post",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.max_insertions = max_insertions
        self.n_heads = n_heads
        self.dropout = dropout
        self.normalisation = normalisation
        self.position_embedding = keras.layers.Embedding(
            max_insertions,
            width,
            embeddings_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="position_embedding",
        )
        self.block = TransformerBlock(
            width, n_heads, dropout=dropout, normalisation=normalisation, dtype=self.dtype_policy, name="block"
        )
        self.output_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy, name="output_norm")

    def build(self, context_shape: tuple[int | None, ...], run_shape: tuple[int | None, ...] | None = None) -> None:
        """Create the weights for contexts of shape `[P, D]`."""
        self.position_embedding.build((None,))
        self.block.build((None, None, self.width))
        self.output_norm.build((None, None, self.width))
        self.built = True

    def call(self, context: KerasTensor, run: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return decoder states `[P, J + 1, D]`."""
        inputs = ops.concatenate([context[:, None, :], run], axis=1)  # [P, J + 1, D]
        step = ops.arange(ops.shape(inputs)[1])
        inputs = inputs + self.position_embedding(step)[None]
        causal = ops.broadcast_to(
            (step[None, :] <= step[:, None])[None],
            (ops.shape(inputs)[0], ops.shape(inputs)[1], ops.shape(inputs)[1]),
        )
        return self.output_norm(self.block(inputs, causal, training=training))

    def compute_output_shape(
        self, context_shape: tuple[int | None, ...], run_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Return `[P, J + 1, D]`."""
        return (run_shape[0], None if run_shape[1] is None else run_shape[1] + 1, self.width)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "width": self.width,
            "max_insertions": self.max_insertions,
            "n_heads": self.n_heads,
            "dropout": self.dropout,
            "normalisation": self.normalisation,
        }
