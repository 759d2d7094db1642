"""Lists of item ids, one a row or one for all rows: what is in them, and what is in them twice."""

from __future__ import annotations

import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID

MOST_COMPARISONS = 2.0**20


def is_listed(item_ids: tf.Tensor, lists: tf.Tensor) -> tf.Tensor:
    """Say which ids are in their row's list.

    Short lists are compared with all ids at once. Long ones are sorted: then the cost grows with `(C + E) log E` in
    place of `C E`.

    Args:
        item_ids: `[B, C]` int32.
        lists: `[B, E]` int32, or `[1, E]` for one list for all rows; any `E`. PAD lists nothing.

    Returns:
        `[B, C]` bool, True = the id is in the list.

    Example:
        >>> is_listed(tf.constant([[3, 1], [4, 0]]), tf.constant([[1, 7, 0]])).numpy().tolist()
        [[False, True], [False, False]]
    """

    def compare() -> tf.Tensor:
        return tf.reduce_any(tf.equal(item_ids[:, :, tf.newaxis], lists[:, tf.newaxis, :]), axis=-1)

    def search() -> tf.Tensor:
        # One list is searched for all rows at once: copied to the batch it could take gigabytes.
        asked = tf.cond(tf.equal(tf.shape(lists)[0], 1), lambda: tf.reshape(item_ids, [1, -1]), lambda: item_ids)
        in_order = tf.sort(lists, axis=-1)
        places = tf.minimum(tf.searchsorted(in_order, asked), tf.shape(in_order)[1] - 1)
        return tf.reshape(tf.equal(tf.gather(in_order, places, batch_dims=1), asked), tf.shape(item_ids))

    # In floats, because the product could overflow.
    comparisons = tf.cast(tf.size(item_ids), tf.float32) * tf.cast(tf.shape(lists)[1], tf.float32)
    found = tf.cond(comparisons <= MOST_COMPARISONS, compare, search)
    return tf.logical_and(found, tf.not_equal(item_ids, PAD_ID))


def without_repeats(item_ids: tf.Tensor) -> tf.Tensor:
    """Replace an id that its row already holds by PAD.

    Args:
        item_ids: `[B, A]` int32.

    Returns:
        `[B, A]` int32, each row's ids in ascending order.

    Example:
        >>> without_repeats(tf.constant([[4, 2, 4, 0]])).numpy().tolist()
        [[0, 2, 4, 0]]
    """
    in_order = tf.sort(item_ids, axis=-1)
    before = tf.pad(in_order[:, :-1], [[0, 0], [1, 0]], constant_values=PAD_ID)
    return tf.where(tf.equal(in_order, before[:, : tf.shape(in_order)[1]]), PAD_ID, in_order)
