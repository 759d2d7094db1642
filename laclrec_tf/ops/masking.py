"""Padded histories: padding, masks, lengths, and moving items to the front.

Histories are right-padded with `PAD_ID` (0), oldest item first. A mask's name says what True means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID


def pad_histories(histories: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Write histories of different lengths as the rows of one array.

    Args:
        histories: `B` sequences of integer ids.

    Returns:
        `[B, L]` int32 ids, PAD behind each history; `L` is the longest history's length, but at least 1.

    Raises:
        ValueError: an id needs more than 32 bits.

    Example:
        >>> pad_histories([[7, 9], [4], []]).tolist()
        [[7, 9], [4, 0], [0, 0]]
    """
    padded = np.full((len(histories), max([1, *map(len, histories)])), PAD_ID, np.int64)
    for row, history in zip(padded, histories, strict=True):
        row[: len(history)] = history
    return as_int32(padded)


def as_int32(item_ids: np.ndarray) -> np.ndarray:
    """Convert item ids to int32; NumPy's own conversion keeps the low 32 bits of a larger number.

    Args:
        item_ids: integer ids of any shape.

    Raises:
        ValueError: an id needs more than 32 bits.

    Example:
        >>> as_int32(np.array([2**32 + 5]))
        Traceback (most recent call last):
        ValueError: Item ids must fit in int32. Received: 4294967301.
    """
    if item_ids.dtype != np.int32 and item_ids.size:
        for extreme in (int(item_ids.min()), int(item_ids.max())):
            if not -(2**31) <= extreme < 2**31:
                raise ValueError(f"Item ids must fit in int32. Received: {extreme}.")
    return item_ids.astype(np.int32, copy=False)


def is_item(item_ids: tf.Tensor) -> tf.Tensor:
    """Return True at every position that is not padding.

    EOS and MASK tokens count as items here: attention may read them.

    Args:
        item_ids: `[...]` integer ids.

    Returns:
        `[...]` bool, True = not PAD.

    Example:
        >>> is_item(tf.constant([[7, 9, 0]])).numpy().tolist()
        [[True, True, False]]
    """
    return tf.not_equal(item_ids, PAD_ID)


def history_lengths(item_ids: tf.Tensor) -> tf.Tensor:
    """Count the items of each right-padded history.

    Args:
        item_ids: `[B, L]` integer ids.

    Returns:
        `[B]` int32 lengths, 0 for an empty history.

    Example:
        >>> history_lengths(tf.constant([[7, 9, 0], [0, 0, 0]])).numpy().tolist()
        [2, 0]
    """
    return tf.reduce_sum(tf.cast(is_item(item_ids), tf.int32), axis=-1)


def gather_last(hidden: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the hidden state of the last item of each history or prefix.

    Args:
        hidden: `[B, L, D]` hidden states.
        lengths: `[B]` or `[B, P]` integer history or prefix lengths; length 0 reads position 0.

    Returns:
        `[B, D]` or `[B, P, D]`.

    Example:
        >>> hidden = tf.reshape(tf.range(6.0), [1, 3, 2])
        >>> gather_last(hidden, tf.constant([2])).numpy().tolist()
        [[2.0, 3.0]]
    """
    return tf.gather(hidden, tf.maximum(lengths - 1, 0), batch_dims=1)


def take_prefixes(item_ids: tf.Tensor, prefix_lengths: tf.Tensor) -> tf.Tensor:
    """Return several prefixes of each history.

    Args:
        item_ids: `[B, L]` integer ids.
        prefix_lengths: `[B, P]` integer lengths.

    Returns:
        `[B * P, L]` ids, PAD behind each prefix; the prefixes of one history are consecutive rows.

    Example:
        >>> take_prefixes(tf.constant([[7, 9, 4]]), tf.constant([[3, 1]])).numpy().tolist()
        [[7, 9, 4], [7, 0, 0]]
    """
    length = tf.shape(item_ids)[1]
    inside = tf.sequence_mask(prefix_lengths, length)  # [B, P, L]
    prefixes = tf.where(inside, item_ids[:, tf.newaxis, :], tf.zeros([], item_ids.dtype))
    return tf.reshape(prefixes, [-1, length])


def positions_where(
    mask: tf.Tensor, static_shapes: bool = False, max_positions: int | tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """List the positions at which a mask is True, as indices into the flattened mask.

    Args:
        mask: bool of any shape.
        static_shapes: return a number of positions that does not depend on the mask's values, as XLA requires:
            positions at which the mask is False fill the list. Default: False.
        max_positions: with `static_shapes`, the length of the list, not less than the number of True positions.
            Default: the size of the mask.

    Returns:
        `(positions [P] int32, weights [P] float32)`; the weight is 0 for a position that only fills the list.

    Example:
        >>> mask = tf.constant([[False, True], [False, True]])
        >>> [part.numpy().tolist() for part in positions_where(mask)]
        [[1, 3], [1.0, 1.0]]
        >>> [part.numpy().tolist() for part in positions_where(mask, static_shapes=True, max_positions=3)]
        [[1, 3, 0], [1.0, 1.0, 0.0]]
    """
    flat = tf.reshape(mask, [-1])
    if not static_shapes:
        positions = tf.cast(tf.where(flat)[:, 0], tf.int32)
        return positions, tf.ones_like(positions, tf.float32)
    if max_positions is None:
        return tf.range(tf.size(flat)), tf.cast(flat, tf.float32)
    positions = tf.argsort(tf.cast(tf.logical_not(flat), tf.int32), stable=True)[:max_positions]
    return positions, tf.cast(tf.gather(flat, positions), tf.float32)


def trim_padding(item_ids: tf.Tensor) -> tf.Tensor:
    """Remove the columns in which every history of the batch is padded; at least one column remains.

    Args:
        item_ids: `[B, L]` right-padded ids.

    Returns:
        `[B, longest]` ids.

    Example:
        >>> trim_padding(tf.constant([[7, 9, 0, 0], [4, 0, 0, 0]])).numpy().tolist()
        [[7, 9], [4, 0]]
    """
    longest = tf.maximum(tf.reduce_max(history_lengths(item_ids)), 1)
    return item_ids[:, :longest]


def pack_histories(item_ids: tf.Tensor, max_length: int) -> tf.Tensor:
    """Move padding behind the items of each history, and cut each history to its last `max_length` items.

    Args:
        item_ids: `[B, L]` integer ids; PAD may be anywhere, e.g. at the start.
        max_length: max number of items of a history.

    Returns:
        `[B, min(L, max_length)]` ids, right-padded with PAD. A history that is packed already does not change.

    Example:
        >>> pack_histories(tf.constant([[0, 0, 7, 9], [4, 0, 5, 6], [1, 2, 3, 4]]), max_length=3).numpy().tolist()
        [[7, 9, 0], [4, 5, 6], [2, 3, 4]]
    """
    length = item_ids.shape[1]
    width = tf.minimum(tf.shape(item_ids)[1], max_length) if length is None else min(length, max_length)
    return pack_kept(item_ids, is_item(item_ids), width)


def pack_kept(values: tf.Tensor, keep: tf.Tensor, max_length: int | tf.Tensor) -> tf.Tensor:
    """Move the kept values of each row to the front, in order; the last `max_length` of them remain.

    Args:
        values: `[B, S]` integers.
        keep: `[B, S]` bool, True = keep the value.
        max_length: width of the result.

    Returns:
        `[B, max_length]`, PAD behind the kept values.

    Example:
        >>> pack_kept(tf.constant([[5, 6, 7]]), tf.constant([[True, False, True]]), 2).numpy().tolist()
        [[5, 7]]
    """
    rank = tf.cumsum(tf.cast(keep, tf.int32), axis=1)  # [B, S], 1 for the first kept value
    overflow = tf.maximum(rank[:, -1:] - max_length, 0)
    column = rank - 1 - overflow
    # All other values are written to one extra column, which is then cut off.
    column = tf.where(tf.logical_and(keep, column >= 0), column, max_length)
    batch = tf.shape(values)[0]
    row = tf.broadcast_to(tf.range(batch)[:, tf.newaxis], tf.shape(column))
    packed = tf.scatter_nd(tf.stack([row, column], axis=-1), values, tf.stack([batch, max_length + 1]))
    packed = packed[:, :-1]
    if isinstance(max_length, int):
        packed = tf.ensure_shape(packed, [None, max_length])
    return packed
