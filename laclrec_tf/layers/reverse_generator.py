"""The reverse generator: decodes the items that are missing before an item, the nearest one first."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.layers.transformer_block import TransformerBlock
from laclrec_tf.ops.item_table import best_rows, table_rows
from laclrec_tf.ops.masking import positions_where


@keras.saving.register_keras_serializable(package="laclrec_tf")
class ReverseGenerator(keras.layers.Layer):
    """A causal decoder of one block that starts with an item's hidden state.

    The first input is the hidden state of the item before which items are missing. The next inputs are the embeddings
    of the items generated so far, the nearest one first. Output `j` predicts item `j` of the run, or EOS.

    Args:
        width: Size `D` of the states.
        max_insertions: Max length `K` of a run. Default: 5.
        n_heads: Number of attention heads. Default: 2.
        dropout: Dropout rate in the block. Default: 0.5.
        normalisation: "pre" or "post", see `TransformerBlock`. Default: "post".

    Call arguments:
        context: `[P, D]` hidden states of the items with the operation INSERT.
        run: `[P, J, D]` embeddings of the items generated so far, `0 <= J < K`.

    Returns:
        `[P, J + 1, D]`, states to score against the item table.

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
        step = ops.arange(ops.shape(inputs)[1], dtype="int32")
        inputs = inputs + self.position_embedding(step)[None]
        # Keras warns of a softmax over one value, so a single position comes with a second key, which is masked.
        is_single = inputs.shape[1] == 1
        keys = ops.repeat(inputs, 2, axis=1) if is_single else None
        key_step = ops.arange(2, dtype="int32") if is_single else step
        causal = ops.broadcast_to(
            (key_step[None, :] <= step[:, None])[None],
            (ops.shape(inputs)[0], ops.shape(step)[0], ops.shape(key_step)[0]),
        )
        return self.output_norm(self.block(inputs, causal, context=keys, training=training))

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


def greedy_runs(
    generator: ReverseGenerator,
    encoder: SequenceEncoder,
    context: KerasTensor,
    *,
    length: int,
    eos_id: int,
    candidates: KerasTensor | None = None,
    static_shapes: bool = False,
    present: KerasTensor | None = None,
) -> KerasTensor:
    """Decode runs with the best item at each step. A run holds no item twice.

    Args:
        generator: The decoder.
        encoder: The shared encoder; its item table scores the states.
        context: `[P, D]` hidden states of the items before which the runs are inserted.
        length: Max length `K` of a run.
        eos_id: Id that ends a run.
        candidates: `[C]` integer ids to choose from, in addition to EOS. Default: the whole catalogue.
        static_shapes: Whether to decode finished runs too, so that shapes do not depend on run lengths. Default: False.
        present: `[P, L]` integer ids that are not inserted, e.g. the history. Default: none.

    Returns:
        `[P, K]` int32 ids, the nearest first, with PAD after the EOS that ends a run.

    Example:
        >>> generator, encoder = ReverseGenerator(width=8, max_insertions=3), SequenceEncoder(n_items=20, width=8)
        >>> encoder.build((None, None))
        >>> greedy_runs(generator, encoder, ops.ones([4, 8]), length=3, eos_id=21).shape
        TensorShape([4, 3])
    """
    ids, tokens, rows = _choices(encoder, candidates, eos_id)
    rows = ops.cast(rows, context.dtype)
    runs = ops.zeros((ops.shape(context)[0], length), "int32")
    unfinished = ops.ones((ops.shape(context)[0],), "bool")
    for step in range(length):
        # Most runs are short, so only unfinished runs are scored.
        where, _ = positions_where(unfinished, static_shapes)
        so_far = ops.take(runs, where, axis=0)[:, :step]  # [P', J]
        # The whole catalogue as candidates reads the whole table anyway, see `ItemEmbedding`.
        whole = False if candidates is None else None
        embedded = encoder.item_embedding(so_far, training=whole)  # [P', J, D]
        states = generator(ops.take(context, where, axis=0), embedded, training=False)
        unwanted = so_far
        if present is not None:
            unwanted = ops.concatenate([ops.cast(ops.take(present, where, axis=0), "int32"), unwanted], axis=1)
        best = ops.take(tokens, best_rows(states[:, -1], rows, excluded=_places(unwanted, ids)))
        best = ops.where(ops.take(unfinished, where), best, PAD_ID)
        runs = ops.scatter_update(runs, ops.stack([where, ops.full_like(where, step)], axis=1), best)
        unfinished = ops.logical_and(runs[:, step] != eos_id, unfinished)
    return runs


def _choices(encoder: SequenceEncoder, candidates: KerasTensor | None, eos_id: int) -> tuple[KerasTensor, ...]:
    """Return sorted ids `[C]`, the id that each of them represents, and their rows `[C, D]`."""
    if candidates is None:
        # Candidates are the ids 1..N and EOS, not PAD and MASK.
        ids = tokens = ops.arange(1, eos_id + 1, dtype="int32")
        rows = ops.convert_to_tensor(encoder.item_table)[1 : eos_id + 1]
    else:
        ids = ops.sort(ops.append(ops.cast(candidates, "int32"), eos_id))
        # A candidate given twice would come in its second place where its first is excluded; EOS may.
        again = ops.concatenate([ops.zeros((1,), "bool"), ids[1:] == ids[:-1]])
        tokens = ops.where(again, eos_id, ids)
        rows = table_rows(encoder.item_table, tokens)
    return ids, tokens, rows


def _places(item_ids: KerasTensor, sorted_ids: KerasTensor) -> KerasTensor:
    """Return where ids `[P, E]` first stand in `[C]` sorted ids, int32; `C` for those that do not."""
    places = ops.reshape(ops.searchsorted(sorted_ids, ops.reshape(item_ids, (-1,))), ops.shape(item_ids))
    end = ops.shape(sorted_ids)[0]
    found = ops.take(sorted_ids, ops.minimum(places, end - 1)) == item_ids
    return ops.cast(ops.where(found, places, end), "int32")
