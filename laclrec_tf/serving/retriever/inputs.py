"""Input specs of the signatures, and checks that run inside the graph.

Some inputs hold one value or list for all rows of a request, or one for each row. A check raises
`InvalidArgumentError` when the graph runs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import tensorflow as tf

DEFAULT_K = 10
HISTORY = tf.TensorSpec([None, None], tf.string, name="history")
ITEMS = tf.TensorSpec([None], tf.string, name="items")
# Any rank: one value for all rows, or one for each row, as a server needs that joins requests to batches.
K = tf.TensorSpec(None, tf.int32, name="k")
EXCLUDE = tf.TensorSpec([None, None], tf.string, name="exclude")
ALLOW = tf.TensorSpec([None, None], tf.string, name="allow")
EXCLUDE_HISTORY = tf.TensorSpec(None, tf.bool, name="exclude_history")
CANDIDATES = tf.TensorSpec([None, None], tf.string, name="candidates")
EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")
# A small request can need more memory than there is: one long list among many short ones, or all items for many rows.
MAX_ITEMS = 2**22


def rows_fit(name: str, lists: tf.Tensor, history: tf.Tensor) -> AbstractContextManager[None]:
    """Check that an input has one row, or as many rows as `history`.

    Args:
        name: the input's name, for the error.
        lists: `[B, ...]` or `[1, ...]`.
        history: `[B, S]`.

    Returns:
        A context; operations created inside run only after the check.
    """
    rows, batch = tf.shape(lists)[0], tf.shape(history)[0]
    fits = tf.logical_or(tf.equal(rows, 1), tf.equal(rows, batch))
    message = f"Input {name} must have one row, or as many as history. Received number of rows of both:"
    return tf.control_dependencies([tf.debugging.Assert(fits, [message, rows, batch])])


def for_each_row(name: str, value: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Broadcast a value to all rows.

    Args:
        name: the input's name, for the error.
        value: a scalar, `[1]` or `[B]`; any other shape raises `InvalidArgumentError`.
        batch: int32 scalar `B`.

    Returns:
        `[B]`.
    """
    size = tf.size(value)
    fits = tf.logical_and(tf.rank(value) <= 1, tf.logical_or(tf.equal(size, 1), tf.equal(size, batch)))
    message = f"Input {name} must be one value, or one for each row. Received shape and number of rows:"
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, tf.shape(value), batch])]):
        return tf.broadcast_to(tf.reshape(value, [-1]), [batch])


def at_least_one(name: str, value: tf.Tensor) -> tf.Tensor:
    """Return `value`; a number below 1 raises `InvalidArgumentError`.

    Args:
        name: the input's name, for the error.
        value: integers of any shape.
    """
    message = f"Input {name} must be at least 1. Received: {name} ="
    positive = tf.debugging.Assert(tf.reduce_all(value >= 1), [message, value])
    with tf.control_dependencies([positive]):
        return tf.identity(value)


def dense_rows(name: str, lists: tf.SparseTensor) -> tf.Tensor:
    """Pad lists of strings to the longest one.

    Args:
        name: the input's name, for the error.
        lists: `[B, S]` string, the values of each row at its start. More than 4,194,304 strings after padding raise
            `InvalidArgumentError`.

    Returns:
        `[B, S]` string, `""` after the values of shorter rows.

    Example:
        >>> dense_rows("history", tf.sparse.from_dense([["tent", "stove"], ["rope", ""]])).numpy().tolist()
        [[b'tent', b'stove'], [b'rope', b'']]
    """
    message = f"Input {name} may have {MAX_ITEMS} items, rows padded to the longest. Received rows and longest row:"
    fits = tf.debugging.Assert(tf.reduce_prod(lists.dense_shape) <= MAX_ITEMS, [message, lists.dense_shape])
    with tf.control_dependencies([fits]):
        return tf.sparse.to_dense(tf.sparse.map_values(tf.identity, lists), "")


def slots(k: tf.Tensor, n_items: int, batch: tf.Tensor) -> tf.Tensor:
    """Return the number of slots that the largest `k` needs, at most `n_items`; 1 if there is no row.

    Args:
        k: int32 of any shape, at least 1.
        n_items: `N`.
        batch: int32 scalar, number of rows. More than 4,194,304 slots in total raise `InvalidArgumentError`.

    Returns:
        int32 scalar.

    Example:
        >>> slots(tf.constant([2, 5]), n_items=4, batch=tf.constant(2)).numpy().item()
        4
    """
    width = tf.minimum(tf.reduce_max(tf.concat([tf.reshape(k, [-1]), [1]], axis=0)), n_items)
    total = tf.cast(width, tf.int64) * tf.cast(batch, tf.int64)
    message = f"Input k requests more than {MAX_ITEMS} items in total. Received rows and items per row:"
    with tf.control_dependencies([tf.debugging.Assert(total <= MAX_ITEMS, [message, batch, width])]):
        return tf.identity(width)
