"""Inputs that stand for every row of a request, or have one row for each; and the errors when they do not."""

from __future__ import annotations

from contextlib import AbstractContextManager

import tensorflow as tf

DEFAULT_K = 10
HISTORY = tf.TensorSpec([None, None], tf.string, name="history")
ITEMS = tf.TensorSpec([None], tf.string, name="items")
# Of any rank: one for all rows, or one a row, which a server needs that joins requests to batches.
K = tf.TensorSpec(None, tf.int32, name="k")
EXCLUDE = tf.TensorSpec([None, None], tf.string, name="exclude")
ALLOW = tf.TensorSpec([None, None], tf.string, name="allow")
EXCLUDE_HISTORY = tf.TensorSpec(None, tf.bool, name="exclude_history")
CANDIDATES = tf.TensorSpec([None, None], tf.string, name="candidates")
EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")
# A few bytes can ask for more than fits into memory: one long list beside many short ones, all items for many rows.
MOST_ITEMS = 2**22


def rows_fit(name: str, lists: tf.Tensor, history: tf.Tensor) -> AbstractContextManager[None]:
    """Let what is built inside run only when an input has one row, or as many as `history`.

    Args:
        name: the input's name, for the error.
        lists: `[B, ...]` or `[1, ...]`.
        history: `[B, S]`.

    Returns:
        A context of control dependencies; it raises `InvalidArgumentError` when the graph runs.
    """
    rows, batch = tf.shape(lists)[0], tf.shape(history)[0]
    fits = tf.logical_or(tf.equal(rows, 1), tf.equal(rows, batch))
    message = f"Input {name} must have one row, or as many as history. Received rows of both:"
    return tf.control_dependencies([tf.debugging.Assert(fits, [message, rows, batch])])


def for_each_row(name: str, value: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Give each row its value.

    Args:
        name: the input's name, for the error.
        value: a scalar, `[1]` or `[B]`.
        batch: int32 scalar `B`.

    Returns:
        `[B]`; it raises `InvalidArgumentError` when the graph runs on a value of another shape.
    """
    size = tf.size(value)
    fits = tf.logical_and(tf.rank(value) <= 1, tf.logical_or(tf.equal(size, 1), tf.equal(size, batch)))
    message = f"Input {name} must be one value, or one for each row. Received its shape, and the rows:"
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, tf.shape(value), batch])]):
        return tf.broadcast_to(tf.reshape(value, [-1]), [batch])


def at_least_one(name: str, value: tf.Tensor) -> tf.Tensor:
    """Return `value`; it raises `InvalidArgumentError` when the graph runs on a number below 1.

    Args:
        name: the input's name, for the error.
        value: integers of any shape.

    Returns:
        `value`.
    """
    message = f"Input {name} must be at least 1. Received: {name} ="
    positive = tf.debugging.Assert(tf.reduce_all(value >= 1), [message, value])
    with tf.control_dependencies([positive]):
        return tf.identity(value)


def filled_up(name: str, lists: tf.SparseTensor) -> tf.Tensor:
    """Fill lists of strings up to the longest one.

    Args:
        name: the input's name, for the error.
        lists: `[B, S]` string, each row's values in front.

    Returns:
        `[B, S]` string, `""` behind shorter rows; it raises `InvalidArgumentError` when the graph runs on lists that
        would have more than 4,194,304 strings then.

    Example:
        >>> filled_up("history", tf.sparse.from_dense([["tent", "stove"], ["rope", ""]])).numpy().tolist()
        [[b'tent', b'stove'], [b'rope', b'']]
    """
    message = (
        f"Input {name} may have {MOST_ITEMS} items, all rows as long as the longest. Received rows and the longest:"
    )
    fits = tf.debugging.Assert(tf.reduce_prod(lists.dense_shape) <= MOST_ITEMS, [message, lists.dense_shape])
    with tf.control_dependencies([fits]):
        return tf.sparse.to_dense(tf.sparse.map_values(tf.identity, lists), "")


def slots(k: tf.Tensor, n_items: int, batch: tf.Tensor) -> tf.Tensor:
    """Return how many slots the largest `k` needs, at most `n_items`; one when there is no row.

    Args:
        k: int32 of any shape, at least 1.
        n_items: `N`.
        batch: int32 scalar, how many rows have these slots.

    Returns:
        int32 scalar; it raises `InvalidArgumentError` when the graph runs on rows that would have more than
        4,194,304 slots in all.

    Example:
        >>> slots(tf.constant([2, 5]), n_items=4, batch=tf.constant(2)).numpy().item()
        4
    """
    width = tf.minimum(tf.reduce_max(tf.concat([tf.reshape(k, [-1]), [1]], axis=0)), n_items)
    in_all = tf.cast(width, tf.int64) * tf.cast(batch, tf.int64)
    message = f"Input k asks for more than {MOST_ITEMS} items in all. Received rows, and items for each:"
    with tf.control_dependencies([tf.debugging.Assert(in_all <= MOST_ITEMS, [message, batch, width])]):
        return tf.identity(width)
