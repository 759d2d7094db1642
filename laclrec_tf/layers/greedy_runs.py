"""Greedy decoding of the runs that are missing before items."""

from __future__ import annotations

from keras import KerasTensor, ops

from laclrec_tf.layers.reverse_generator import ReverseGenerator
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.ops.item_table import best_rows, table_rows
from laclrec_tf.ops.masking import PAD_ID, positions_where


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
    """Take the best item step by step. No item comes twice in a run.

    Args:
        generator: gives the state at each step of a run.
        encoder: the shared encoder, whose table the states are scored against.
        context: `[P, D]` hidden states of the items to insert before.
        length: longest run `K`.
        eos_id: the id that ends a run.
        candidates: `[C]` integer ids to choose from beside EOS. Default: the whole catalogue.
        static_shapes: decode ended runs too, so that shapes do not depend on where they end. Default: False.
        present: `[P, L]` integer ids that are not inserted, since they are there already. Default: none.

    Returns:
        `[P, K]` int32 ids, nearest first, PAD behind the EOS that ends a run.

    Example:
        >>> generator, encoder = ReverseGenerator(width=8, max_insertions=3), SequenceEncoder(n_items=20, width=8)
        >>> encoder.build((None, None))
        >>> greedy_runs(generator, encoder, ops.ones([4, 8]), length=3, eos_id=21).shape
        TensorShape([4, 3])
    """
    ids, tokens, rows = _choices(encoder, candidates, eos_id)
    rows = ops.cast(rows, context.dtype)
    runs = ops.zeros((ops.shape(context)[0], length), "int32")
    going = ops.ones((ops.shape(context)[0],), "bool")
    for step in range(length):
        # Most runs are short: only those that go on are scored against the catalogue.
        where, _ = positions_where(going, static_shapes)
        # The generator is causal. One item at least: Keras warns of attention to a single position.
        n_so_far = min(max(step, 1), length - 1)
        so_far = ops.take(runs, where, axis=0)  # [P', K]
        # Over the whole catalogue the table is read whole anyway, see `ItemEmbedding`.
        whole = False if candidates is None else None
        embedded = encoder.item_embedding(so_far[:, :n_so_far], training=whole)  # [P', J, D]
        states = generator(ops.take(context, where, axis=0), embedded, training=False)
        unwanted = so_far[:, :step]
        if present is not None:
            unwanted = ops.concatenate([ops.cast(ops.take(present, where, axis=0), "int32"), unwanted], axis=1)
        best = ops.take(tokens, best_rows(states[:, step], rows, excluded=_places(unwanted, ids)))
        best = ops.where(ops.take(going, where), best, PAD_ID)
        runs = ops.scatter_update(runs, ops.stack([where, ops.full_like(where, step)], axis=1), best)
        going = ops.logical_and(runs[:, step] != eos_id, going)
    return runs


def _choices(encoder: SequenceEncoder, candidates: KerasTensor | None, eos_id: int) -> tuple[KerasTensor, ...]:
    """Return sorted ids `[C]`, the id that each one stands for, and their rows `[C, D]`."""
    if candidates is None:
        # PAD and MASK are no items: only ids 1..N and EOS may come.
        ids = tokens = ops.arange(1, eos_id + 1)
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
