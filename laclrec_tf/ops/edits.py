"""The three edit operations, and their application to a batch of histories.

Source: LACLRec (arXiv 2503.20232), inference of the sequence augmenter. The released code passes the edited sequence
through a set, which loses the order of the items; this code keeps it.
"""

from __future__ import annotations

import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.masking import history_lengths, is_item, pack_kept

KEEP = 0
DELETE = 1
INSERT = 2
OPERATION_NAMES = ("keep", "delete", "insert")


def surviving_operations(item_ids: tf.Tensor, operations: tf.Tensor) -> tf.Tensor:
    """Replace DELETE by KEEP at the last item of each history of which all items are to be deleted, see `apply_edits`.

    Args:
        item_ids: `[B, L]` integer ids, right-padded with 0.
        operations: `[B, L]` int32.

    Returns:
        `[B, L]` int32.

    Example:
        >>> surviving_operations(tf.constant([[5, 6, 0]]), tf.constant([[DELETE, DELETE, KEEP]])).numpy().tolist()
        [[1, 0, 0]]
    """
    survives = tf.logical_and(is_item(item_ids), tf.not_equal(operations, DELETE))
    nothing_left = tf.logical_not(tf.reduce_any(survives, axis=1, keepdims=True))
    last = history_lengths(item_ids)[:, tf.newaxis] - 1
    is_last = tf.equal(tf.range(tf.shape(item_ids)[1])[tf.newaxis, :], last)
    return tf.where(tf.logical_and(nothing_left, is_last), KEEP, operations)


def inserted_items(insertions: tf.Tensor, eos_id: int | tf.Tensor) -> tf.Tensor:
    """Replace each run's first EOS and everything behind it by PAD.

    Args:
        insertions: `[..., K]` runs of ids, nearest to their item first, closed by EOS when shorter than K.
        eos_id: the id that closes a run.

    Returns:
        `[..., K]` ids, PAD behind the end of each run.

    Example:
        >>> inserted_items(tf.constant([[4, 9, 5], [9, 4, 5]]), eos_id=9).numpy().tolist()
        [[4, 0, 0], [0, 0, 0]]
    """
    ended = tf.cumsum(tf.cast(tf.equal(insertions, eos_id), tf.int32), axis=-1) > 0
    return tf.where(ended, tf.zeros([], insertions.dtype), insertions)


def kept_insertions(
    item_ids: tf.Tensor,
    operations: tf.Tensor,
    insertions: tf.Tensor,
    *,
    eos_id: int | tf.Tensor,
    max_length: int,
) -> tf.Tensor:
    """Leave out insertions that repeat an item or would make the edited history too long.

    Of several insertions of one item, the newest remains: the one nearest to the end of the history. If the edited
    history would have more than `max_length` items, the oldest insertions are left out.

    Args:
        item_ids: `[B, L]` integer ids, right-padded with 0.
        operations: `[B, L]` integers, see `apply_edits`.
        insertions: `[B, L, K]` integer ids, nearest first, closed by EOS when shorter than K; read at `INSERT`
            positions only.
        eos_id: the id that closes a run.
        max_length: max length of the edited history.

    Returns:
        `[B, L, K]`, PAD in place of what is not inserted; an EOS that closes a run stays.

    Example:
        >>> kept_insertions(
        ...     tf.constant([[5, 6]]), tf.constant([[INSERT, INSERT]]), tf.constant([[[3, 4], [2, 3]]]),
        ...     eos_id=9, max_length=4).numpy().tolist()
        [[[0, 0], [2, 3]]]
    """
    batch, length = tf.unstack(tf.shape(item_ids))
    inserting = tf.logical_and(is_item(item_ids), tf.equal(operations, tf.cast(INSERT, operations.dtype)))
    eos_id = tf.cast(eos_id, insertions.dtype)
    runs = inserted_items(insertions, eos_id)
    runs = tf.where(inserting[..., tf.newaxis], runs, tf.zeros([], runs.dtype))
    newest_first = tf.reshape(tf.reverse(runs, axis=[1]), [batch, -1])  # [B, L * K]
    # A stable sort by item puts the newest insertion of each item first.
    order = tf.argsort(newest_first, axis=1, stable=True)
    ordered = tf.gather(newest_first, order, batch_dims=1)
    again = tf.pad(tf.equal(ordered[:, 1:], ordered[:, :-1]), [[0, 0], [1, 0]])
    again = tf.gather(again, tf.argsort(order, axis=1), batch_dims=1)
    kept = tf.logical_and(is_item(newest_first), tf.logical_not(again))
    remaining = tf.not_equal(surviving_operations(item_ids, tf.cast(operations, tf.int32)), DELETE)
    n_events = tf.reduce_sum(tf.cast(tf.logical_and(is_item(item_ids), remaining), tf.int32), axis=1, keepdims=True)
    kept &= tf.cumsum(tf.cast(kept, tf.int32), axis=1) <= max_length - n_events
    newest_first = tf.where(kept, newest_first, tf.zeros([], newest_first.dtype))
    runs = tf.reverse(tf.reshape(newest_first, [batch, length, -1]), axis=[1])
    is_end = tf.equal(tf.cumsum(tf.cast(tf.equal(insertions, eos_id), tf.int32), axis=-1), 1)
    is_end = tf.logical_and(is_end, tf.equal(insertions, eos_id))
    # With one insertion, broadcasting loses the static shape.
    return tf.ensure_shape(tf.where(tf.logical_and(is_end, inserting[..., tf.newaxis]), eos_id, runs), insertions.shape)


def apply_edits(
    item_ids: tf.Tensor,
    operations: tf.Tensor,
    insertions: tf.Tensor,
    *,
    eos_id: int | tf.Tensor,
    max_length: int,
) -> tf.Tensor:
    """Delete and insert items as the operations say.

    A deleted item is removed. A run is inserted before its item, oldest first, so that the run's first id is next to
    the item. The most recent `max_length` items remain. An edited history is never empty: if every item would be
    deleted, the last one is kept. There are no gradients: ids are integers.

    Args:
        item_ids: `[B, L]` integer ids, right-padded with 0.
        operations: `[B, L]` integers, `KEEP` 0, `DELETE` 1 or `INSERT` 2; values on padding are ignored.
        insertions: `[B, L, K]` integer ids, nearest first, closed by EOS when shorter than K; read at
            `INSERT` positions only.
        eos_id: the id that closes a run.
        max_length: width of the result, at least 1.

    Returns:
        `[B, max_length]` ids of `item_ids`' dtype, right-padded with 0.

    Raises:
        ValueError: `max_length` is below 1.

    Example:
        >>> apply_edits(
        ...     tf.constant([[5, 6, 7]]),
        ...     tf.constant([[DELETE, KEEP, INSERT]]),
        ...     tf.constant([[[0, 0], [0, 0], [3, 2]]]),
        ...     eos_id=9, max_length=4).numpy().tolist()
        [[6, 2, 3, 7]]
    """
    item_ids = tf.convert_to_tensor(item_ids)
    operations = tf.cast(operations, tf.int32)
    insertions = tf.cast(insertions, item_ids.dtype)
    if max_length < 1:
        raise ValueError(f"Argument `max_length` must be at least 1. Received: max_length={max_length}.")
    real = is_item(item_ids)

    runs = inserted_items(insertions, tf.cast(eos_id, item_ids.dtype))
    inserting = tf.logical_and(real, tf.equal(operations, INSERT))
    runs = tf.where(inserting[..., tf.newaxis], runs, tf.zeros([], item_ids.dtype))
    is_deleted = tf.equal(surviving_operations(item_ids, operations), DELETE)
    survivors = tf.where(is_deleted, tf.zeros([], item_ids.dtype), item_ids)

    # Each item's slots in reading order: its run, farthest first, then the item itself. [B, L, K + 1]
    slots = tf.concat([tf.reverse(runs, axis=[-1]), survivors[..., tf.newaxis]], axis=-1)
    slots = tf.reshape(slots, [tf.shape(item_ids)[0], -1])  # [B, L * (K + 1)]
    return pack_kept(slots, tf.not_equal(slots, PAD_ID), max_length)
