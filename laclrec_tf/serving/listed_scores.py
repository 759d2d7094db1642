"""Scores of given items only: what an allow-list and a ranking ask for."""

from __future__ import annotations

import tensorflow as tf


def listed_scores(vectors: tf.Tensor, table: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
    """Score the listed items of each row.

    Args:
        vectors: `[B, D]` float32.
        table: `[N + 3, D]` float32, row `i` is item `i`.
        item_ids: `[B, C]` int32, or `[1, C]` for the same items in every row.

    Returns:
        `[B, C]` float32 dot products, PAD's too.

    Example:
        >>> table = tf.constant([[0.0], [1.0], [3.0], [0.0], [0.0]])
        >>> listed_scores(tf.constant([[1.0], [2.0]]), table, tf.constant([[2, 1]])).numpy().tolist()
        [[3.0, 1.0], [6.0, 2.0]]
    """

    def one_list_for_all() -> tf.Tensor:
        return tf.matmul(vectors, tf.gather(table, item_ids[0]), transpose_b=True)

    def a_list_for_each() -> tf.Tensor:
        # Row by row: the vectors of all lists at once could take gigabytes.
        return tf.map_fn(
            lambda row: tf.linalg.matvec(tf.gather(table, row[1]), row[0]),
            (vectors, item_ids),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )

    rows = tf.shape(item_ids)[0]
    return tf.case(
        [
            (tf.equal(rows, 1), one_list_for_all),
            (tf.equal(rows, 0), lambda: tf.zeros(tf.shape(item_ids))),
        ],
        default=a_list_for_each,
    )
