"""Corrupted histories with the labels that undo the corruption: the augmenter's training pairs.

Source: LACLRec (arXiv 2503.20232), self-supervised training of the augmenter.

A history is corrupted position by position, but only two numbers per row depend on earlier positions: the number of
items that the current run has dropped, and the number of random items inserted so far. So all random numbers are drawn
at once, one short loop over positions computes those two numbers for the whole batch, and the rest is index arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP
from laclrec_tf.ops.masking import history_lengths

# How the items that a corruption inserts are drawn.
CorruptionNoise: TypeAlias = Literal["uniform", "popular"]
CORRUPTION_NOISE: tuple[CorruptionNoise, ...] = ("uniform", "popular")
# Items drawn by popularity for each inserted one. All of them are in the history's own items with a probability of the
# share of events that these have, to this power.
CANDIDATES = 4
HISTORIES_AT_ONCE = 4096


def corrupt(
    item_ids: tf.Tensor,
    *,
    n_items: int,
    max_length: int | tf.Tensor = 60,
    max_insertions: int = 5,
    p_keep: float = 0.40,
    p_delete: float = 0.45,
    popularity: np.ndarray | tf.Tensor | None = None,
    seed: int | tf.Tensor = 0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Corrupt a batch of histories at random, and label how to repair them.

    At each step, one of three operations is drawn. Keep: the item is copied and labelled KEEP. Delete: the item and the
    items after it are dropped, until another draw ends the run, `max_insertions` items are dropped, or the last item is
    reached; the item behind the run is copied and labelled INSERT. Its insertion target is the run, nearest item first,
    closed by EOS if it is shorter than `max_insertions`. Insert: a random item that is not in the history is inserted
    and labelled DELETE. The last item is never dropped: a delete drawn there is drawn again. No more random items are
    inserted once the rest of the history would not fit.

    Applying the labels always restores the history:
    `apply_edits(*corrupt(x), eos_id=n_items + 1, max_length=...) == x`.

    Args:
        item_ids: `[B, L]` integer ids, right-padded with 0, `L <= max_length`.
        n_items: catalogue size `N`; EOS is `N + 1`.
        max_length: width `M` of the corrupted histories. Default: 60.
        max_insertions: max length `K` of a run that one INSERT repairs. Default: 5.
        p_keep: probability of keep. Default: 0.40.
        p_delete: probability of delete; insert has the remaining probability. Default: 0.45.
        popularity: `[N]` weights with which inserted items are drawn, such as their numbers of events; entry `i - 1` is
            for item `i`. Default: None, all items have equal weights.
        seed: an int, or a `[2]` integer tensor, which may differ from batch to batch; draws are stateless. Default: 0.

    Returns:
        `(corrupted [B, M], operations [B, M], insertions [B, M, K])` of `item_ids`' dtype; operations on
        padding are KEEP, insertions are PAD wherever the operation is not INSERT.

    Raises:
        ValueError: the probabilities are invalid, histories are wider than `max_length`, or `popularity` is not a
            number of at least 0 for each item.

    Example:
        >>> corrupted, operations, insertions = corrupt(tf.constant([[5, 6, 7, 8]]), n_items=20, seed=3)
        >>> corrupted.shape, operations.shape, insertions.shape
        (TensorShape([1, 60]), TensorShape([1, 60]), TensorShape([1, 60, 5]))
    """
    item_ids = tf.convert_to_tensor(item_ids)
    p_insert = 1.0 - p_keep - p_delete
    if p_keep <= 0 or p_delete < 0 or p_insert < -1e-9:
        raise ValueError(
            "Arguments `p_keep` and `p_delete` must be probabilities with p_keep > 0 and "
            f"p_keep + p_delete <= 1. Received: p_keep={p_keep}, p_delete={p_delete}."
        )
    static = isinstance(max_length, int)
    if static and item_ids.shape[1] is not None and item_ids.shape[1] > max_length:
        raise ValueError(
            "Argument `max_length` must be at least the width of `item_ids`. "
            f"Received: max_length={max_length}, item_ids of shape {item_ids.shape}."
        )
    seed = tf.stack([0, seed]) if isinstance(seed, int) else tf.cast(seed, tf.int32)
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4), num=4)
    run_length, inserted_before = _walk(
        item_ids, max_length, max_insertions, p_keep, p_delete, max(p_insert, 0.0), seeds[:3]
    )

    real = tf.not_equal(item_ids, PAD_ID)
    copied = tf.logical_and(real, run_length >= 0)
    batch, length = tf.unstack(tf.shape(item_ids))

    # The slot of the result that each copied item gets, and then the raw position that each slot is copied from.
    slot = tf.cumsum(tf.cast(copied, tf.int32), axis=1) - 1 + inserted_before
    slot = tf.where(copied, slot, max_length)
    rows = tf.broadcast_to(tf.range(batch)[:, tf.newaxis], tf.shape(slot))
    position = tf.broadcast_to(tf.range(length)[tf.newaxis, :], tf.shape(slot))
    source = tf.scatter_nd(
        tf.stack([rows, slot], axis=-1), tf.where(copied, position + 1, 0), tf.stack([batch, max_length + 1])
    )[:, :-1]
    source = tf.ensure_shape(source, [None, max_length if static else None]) - 1  # [B, M], -1 where no item was copied

    total = tf.reduce_max(tf.where(copied, slot + 1, 0), axis=1, keepdims=True)
    is_copy = source >= 0
    is_noise = tf.logical_and(tf.range(max_length)[tf.newaxis, :] < total, tf.logical_not(is_copy))
    noise = _items_not_in(item_ids, n_items, max_length, seeds[3])
    if popularity is not None:
        noise = _popular_items_not_in(item_ids, _cumulative(popularity, n_items), noise, seeds[3])
    safe_source = tf.maximum(source, 0)
    pad = tf.zeros([], item_ids.dtype)
    corrupted = tf.where(is_copy, tf.gather(item_ids, safe_source, batch_dims=1), tf.where(is_noise, noise, pad))

    run = tf.where(is_copy, tf.gather(run_length, safe_source, batch_dims=1), 0)  # [B, M]
    operations = tf.where(is_noise, DELETE, tf.where(run > 0, INSERT, KEEP))

    step = tf.range(max_insertions)
    nearest_first = safe_source[..., tf.newaxis] - 1 - step  # [B, M, K]
    dropped = tf.gather(item_ids, tf.maximum(nearest_first, 0), batch_dims=1)
    run = run[..., tf.newaxis]
    eos = tf.cast(n_items + 1, item_ids.dtype)
    insertions = tf.where(step < run, dropped, tf.where(tf.logical_and(step == run, run > 0), eos, pad))
    return corrupted, tf.cast(operations, item_ids.dtype), insertions


def _walk(
    item_ids: tf.Tensor,
    max_length: int | tf.Tensor,
    max_insertions: int,
    p_keep: float,
    p_delete: float,
    p_insert: float,
    seeds: list[tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute run lengths and the number of random items, position by position.

    Returns `run_length [B, L]`, the number of dropped items right before a copied item (-1 where the item itself is
    dropped), and `inserted_before [B, L]`, the number of random items inserted before the item at each position.
    """
    shape = tf.shape(item_ids)
    lengths = history_lengths(item_ids)
    # The number of random items before a position that begins with a new draw is geometric.
    uniform = tf.random.stateless_uniform(shape, seeds[0], minval=1e-7)
    before_end = tf.zeros(shape, tf.int32)
    if p_insert > 0:
        before_end = tf.cast(tf.math.log(uniform) / tf.math.log(tf.constant(p_insert)), tf.int32)
    starts_run = tf.random.stateless_uniform(shape, seeds[1]) < p_delete / (p_keep + p_delete)
    continues_run = tf.random.stateless_uniform(shape, seeds[2]) < p_delete
    # At the last item only keep and insert are possible, so inserts are more likely.
    p_insert_last = p_insert / (p_insert + p_keep)
    at_end = tf.zeros(shape, tf.int32)
    if p_insert > 0:
        at_end = tf.cast(tf.math.log(uniform) / tf.math.log(tf.constant(p_insert_last)), tf.int32)
    is_last = tf.equal(tf.range(shape[1])[tf.newaxis, :], lengths[:, tf.newaxis] - 1)
    n_wanted = tf.where(is_last, at_end, before_end)

    def step(
        i: tf.Tensor,
        run: tf.Tensor,
        used: tf.Tensor,
        dropped: tf.Tensor,
        runs: tf.TensorArray,
        inserted: tf.TensorArray,
    ) -> tuple[tf.Tensor, ...]:
        last = is_last[:, i]
        fresh = tf.equal(run, 0)
        # Every raw item that is not dropped yet may still be copied; only the remaining slots of M are free.
        room = tf.maximum(max_length - (lengths - dropped) - used, 0)
        used += tf.where(fresh, tf.minimum(n_wanted[:, i], room), 0)
        drop = tf.where(fresh, starts_run[:, i], tf.logical_and(continues_run[:, i], run < max_insertions))
        drop = tf.logical_and(drop, tf.logical_not(last))
        runs = runs.write(i, tf.where(drop, -1, run))
        inserted = inserted.write(i, used)
        run = tf.where(drop, run + 1, 0)
        return i + 1, run, used, dropped + tf.cast(drop, tf.int32), runs, inserted

    zeros = tf.zeros_like(lengths)
    arrays = [tf.TensorArray(tf.int32, size=shape[1], element_shape=zeros.shape) for _ in range(2)]
    *_, runs, inserted = tf.while_loop(lambda i, *_: i < shape[1], step, [tf.constant(0), zeros, zeros, zeros, *arrays])
    return tf.transpose(runs.stack()), tf.transpose(inserted.stack())


def _items_not_in(item_ids: tf.Tensor, n_items: int, count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw `count` items for each row, uniformly from the catalogue without the row's own items: `[B, count]`.

    A rank among the absent items is drawn, and increased by the number of present items below it. If a history has the
    whole catalogue, any item may be drawn.
    """
    ordered = tf.sort(tf.where(tf.equal(item_ids, PAD_ID), item_ids.dtype.max, item_ids), axis=1)
    repeated = tf.concat([tf.zeros_like(ordered[:, :1], tf.bool), ordered[:, 1:] == ordered[:, :-1]], axis=1)
    present = tf.logical_and(tf.logical_not(repeated), ordered < item_ids.dtype.max)
    distinct = tf.cumsum(tf.cast(present, item_ids.dtype), axis=1)  # [B, L]
    absent = n_items - distinct[:, -1:]
    uniform = tf.random.stateless_uniform([tf.shape(item_ids)[0], count], seed)
    choices = tf.cast(tf.where(absent > 0, absent, n_items), tf.float32)
    rank = tf.cast(tf.floor(uniform * choices), item_ids.dtype) + 1
    rank = tf.minimum(rank, tf.cast(choices, item_ids.dtype))
    # The j-th distinct present id (j from 1) is below the result exactly if id - (j - 1) <= rank.
    threshold = tf.where(tf.logical_and(present, absent > 0), ordered - (distinct - 1), item_ids.dtype.max)
    # Repeated ids have no threshold, so the count is exact; searchsorted requires sorted thresholds.
    below = tf.searchsorted(tf.sort(threshold, axis=1), rank, side="right")
    return rank + tf.cast(below, item_ids.dtype)


def _popular_items_not_in(item_ids: tf.Tensor, cumulative: tf.Tensor, instead: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw items by popularity from the catalogue without the row's own items.

    Several items are drawn for each place, and the first that is not in the history is taken.

    Args:
        item_ids: `[B, L]` histories.
        cumulative: `[N]` float64 sums of the weights of the items up to each one.
        instead: `[B, count]` items to take where all drawn ones are in the history.
        seed: `[2]` the seed of `instead`, from which another one is derived.

    Returns:
        `[B, count]` ids.
    """
    batch, count = tf.unstack(tf.shape(instead))
    count = count if instead.shape[1] is None else instead.shape[1]
    other_seed = tf.random.experimental.stateless_fold_in(seed, 1)
    uniform = tf.random.stateless_uniform([batch, count * CANDIDATES], other_seed, dtype=tf.float64)
    drawn = tf.searchsorted(cumulative, tf.reshape(uniform * cumulative[-1], [-1]), side="right")
    drawn = tf.cast(tf.minimum(drawn + 1, tf.size(cumulative)), item_ids.dtype)
    drawn = tf.reshape(drawn, [batch, count * CANDIDATES])
    is_own = tf.reduce_any(tf.equal(drawn[:, :, tf.newaxis], item_ids[:, tf.newaxis, :]), axis=2)
    items, is_own = (tf.reshape(each, [batch, count, CANDIDATES]) for each in (drawn, is_own))
    first = tf.argmin(tf.cast(is_own, tf.int32), axis=2)
    found = tf.gather(items, first, batch_dims=2)
    return tf.where(tf.reduce_all(is_own, axis=2), instead, found)


def _cumulative(popularity: np.ndarray | tf.Tensor, n_items: int) -> tf.Tensor:
    """Return the sums of the weights of the items up to each one, `[N]` float64; check them if they are known."""
    known = tf.get_static_value(popularity) if tf.is_tensor(popularity) else popularity
    if known is None:
        return tf.cumsum(tf.cast(popularity, tf.float64))
    weights = np.asarray(known, np.float64)
    if weights.shape != (n_items,) or not np.all(np.isfinite(weights)) or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"Argument `popularity` must hold a number of at least 0 for each of the `n_items`={n_items} items, and "
            f"not only zeros. Received: shape {weights.shape}."
        )
    # Summed here, and not in the graph of each batch.
    return tf.constant(np.cumsum(weights))


def item_popularity(histories: Sequence[np.ndarray] | tf.data.Dataset, n_items: int) -> np.ndarray | None:
    """Count the events of each item.

    Args:
        histories: per user `[n]` ids from 1 to `N`, or a dataset of them, which is read once.
        n_items: catalogue size `N`.

    Returns:
        `[N]` int64 by id from 1; None if there are no events.

    Example:
        >>> item_popularity([np.array([2, 3]), np.array([2])], n_items=3).tolist()
        [0, 2, 1]
    """
    counts = np.zeros(n_items + 1, np.int64)
    if isinstance(histories, tf.data.Dataset):
        batches = histories.padded_batch(HISTORIES_AT_ONCE).as_numpy_iterator()
    else:
        batches = [np.concatenate([np.empty(0, np.int64), *histories])]
    for item_ids in batches:
        counts += np.bincount(item_ids.ravel(), minlength=n_items + 1)  # padding is item 0
    return counts[1:] if counts[1:].any() else None
