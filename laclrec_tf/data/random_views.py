"""Random views of histories: crop, mask, reorder and substitute.

Source: CL4SRec (arXiv 2010.14395) for the first three, CoSeRec (arXiv 2108.06479) for substitution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from laclrec_tf.data.item_vectors import cooccurrence_counts
from laclrec_tf.errors import InputError
from laclrec_tf.ops.masking import history_lengths, is_item, pack_kept

CROP_SHARE = 0.6
MASK_SHARE = 0.3
REORDER_SHARE = 0.6
SUBSTITUTE_SHARE = 0.3
VIEW_KINDS = ("crop", "mask", "reorder", "substitute")
DEFAULT_KINDS = ("crop", "mask", "reorder")


def random_view(
    item_ids: tf.Tensor,
    *,
    mask_id: int,
    seed: int | tf.Tensor,
    kinds: Sequence[str] = DEFAULT_KINDS,
    similar_items: tf.Tensor | None = None,
) -> tf.Tensor:
    """Change each history by one operation, drawn for each history. Histories of one item do not change.

    "crop" keeps `floor(0.6 n)` contiguous items, at least one; "mask" replaces `floor(0.3 n)` items by MASK; "reorder"
    shuffles `floor(0.6 n)` contiguous items; "substitute" replaces `floor(0.3 n)` items by their similar items. The
    positions are random.

    Args:
        item_ids: `[B, L]` integer ids, right-padded with 0.
        mask_id: the MASK token, `N + 2`.
        seed: an int, or a `[2]` integer tensor, which may differ from batch to batch; the draw is stateless.
        kinds: operations to draw from. Default: "crop", "mask" and "reorder".
        similar_items: `[N + 3]` integer ids, the substitute of each item; required for "substitute". Default: None.

    Returns:
        `[B, L]` ids, right-padded with 0.

    Raises:
        ValueError: `kinds` is empty or has an unknown kind, or "substitute" is used without `similar_items`.

    Example:
        >>> view = random_view(tf.constant([[5, 6, 7, 8, 9]]), mask_id=22, seed=1, kinds=["crop"])
        >>> int(history_lengths(view)[0])
        3
    """
    unknown = sorted(set(kinds) - set(VIEW_KINDS))
    if unknown or not kinds:
        raise ValueError(
            f"Argument `kinds` must name some of {', '.join(VIEW_KINDS)}. Received: {', '.join(kinds) or 'none'}."
        )
    if "substitute" in kinds and similar_items is None:
        raise ValueError(
            "Argument `similar_items` must be given if `kinds` contains 'substitute': "
            "the [N + 3] table of each item's substitute. Received: None."
        )
    item_ids = tf.convert_to_tensor(item_ids)
    lengths = history_lengths(item_ids)
    seed = tf.stack([1, seed]) if isinstance(seed, int) else tf.cast(seed, tf.int32)
    which_seed, *kind_seeds = tf.unstack(
        tf.random.experimental.stateless_split(seed, len(kinds) + 1), num=len(kinds) + 1
    )
    which = tf.random.stateless_uniform(tf.shape(lengths), which_seed, maxval=len(kinds), dtype=tf.int32)
    views = item_ids
    for index, (kind, kind_seed) in enumerate(zip(kinds, kind_seeds, strict=True)):
        if kind == "crop":
            view = _crop(item_ids, lengths, kind_seed)
        elif kind == "mask":
            chosen = _choose(item_ids, _share(lengths, MASK_SHARE), kind_seed)
            view = tf.where(chosen, tf.cast(mask_id, item_ids.dtype), item_ids)
        elif kind == "reorder":
            view = _reorder(item_ids, lengths, kind_seed)
        else:
            chosen = _choose(item_ids, _share(lengths, SUBSTITUTE_SHARE), kind_seed)
            table = tf.cast(tf.convert_to_tensor(similar_items), item_ids.dtype)
            view = tf.where(chosen, tf.gather(table, item_ids), item_ids)
        applies = tf.logical_and(which == index, lengths > 1)
        views = tf.where(applies[:, tf.newaxis], view, views)
    return views


def similar_items(histories: Sequence[np.ndarray], n_items: int, window: int = 2) -> np.ndarray:
    """Find for each item the item that occurs most often within `window` positions of it.

    Args:
        histories: per user `[n]` item ids `1..N`; pass training parts only.
        n_items: catalogue size `N`.
        window: max distance that counts, at least 1. Default: 2.

    Returns:
        `[N + 3]` int32, indexed by id; of equally frequent items the smaller id. An item without neighbours, PAD, EOS
        and MASK map to themselves.

    Raises:
        InputError: `window` is below 1, or an id is not in `1..N`.

    Example:
        >>> similar_items([np.array([1, 2]), np.array([3, 2, 1])], n_items=4, window=1).tolist()
        [0, 2, 1, 2, 4, 5, 6]
    """
    if window < 1:
        raise InputError(f"Argument `window` must be at least 1. Received: {window}.")
    counts = cooccurrence_counts(histories, n_items, window, by_distance=False).tocoo()
    order = np.lexsort([counts.col, -counts.data, counts.row])
    items, best = np.unique(counts.row[order], return_index=True)
    similar = np.arange(n_items + 3, dtype=np.int32)
    similar[items + 1] = counts.col[order][best] + 1
    return similar


def _share(lengths: tf.Tensor, share: float) -> tf.Tensor:
    # In tenths: as floats, floor(0.3 * 10) could be 2.
    return lengths * round(share * 10) // 10


def _window(lengths: tf.Tensor, size: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return `[B, L]` bool, True inside a window of `size` items at a uniformly drawn place."""
    uniform = tf.random.stateless_uniform(tf.shape(lengths), seed)
    places = lengths - size + 1
    start = tf.minimum(tf.cast(uniform * tf.cast(places, tf.float32), tf.int32), places - 1)
    position = tf.range(width)[tf.newaxis, :]
    return tf.logical_and(position >= start[:, tf.newaxis], position < (start + size)[:, tf.newaxis])


def _crop(item_ids: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    width = tf.shape(item_ids)[1]
    inside = _window(lengths, tf.maximum(_share(lengths, CROP_SHARE), 1), width, seed)
    packed = pack_kept(item_ids, tf.logical_and(inside, is_item(item_ids)), width)
    return tf.ensure_shape(packed, item_ids.shape)


def _reorder(item_ids: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    window_seed, order_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2), num=2)
    width = tf.shape(item_ids)[1]
    inside = _window(lengths, _share(lengths, REORDER_SHARE), width, window_seed)
    position = tf.cast(tf.broadcast_to(tf.range(width)[tf.newaxis, :], tf.shape(item_ids)), tf.float32)
    first = tf.reduce_min(tf.where(inside, position, tf.cast(width, tf.float32)), axis=1, keepdims=True)
    # Inside the window the sort key is a random number just above the window's first position.
    uniform = tf.random.stateless_uniform(tf.shape(item_ids), order_seed)
    key = tf.where(inside, first + uniform, tf.where(position > first, position + 1.0, position))
    return tf.gather(item_ids, tf.argsort(key, axis=1, stable=True), batch_dims=1)


def _choose(item_ids: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return `[B, L]` bool, True at `count` random items of each row."""
    uniform = tf.where(is_item(item_ids), tf.random.stateless_uniform(tf.shape(item_ids), seed), 2.0)
    rank = tf.argsort(tf.argsort(uniform, axis=1), axis=1)
    return rank < count[:, tf.newaxis]
