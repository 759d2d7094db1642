"""Sums, means and batches over the replicas of `tf.distribute`, each of which has one part of a batch.

With one replica, or outside of a replica, the functions return their argument unchanged.
The optimizer sums gradients over replicas, so each replica's loss is its share of the loss of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Sum the values of all replicas.

    Args:
        value: tensor of any shape; all replicas have the same shape.

    Returns:
        The sum, the same on each replica.

    Example:
        >>> float(sum_over_replicas(tf.constant(2.0)))
        2.0
    """
    context = _context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def share_of_mean(total: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Divide a replica's sum by the count of all replicas, so that the shares add up to the mean over the whole batch.

    Args:
        total: scalar float, the sum over this replica's positions.
        count: scalar float, the number of positions of this replica.

    Returns:
        Scalar float, 0 when no replica has a position.

    Example:
        >>> float(share_of_mean(tf.constant(6.0), tf.constant(4.0)))
        1.5
    """
    count = sum_over_replicas(tf.cast(count, total.dtype))
    return total / tf.where(count > 0, count, tf.ones_like(count))


def whole_batch(rows: tf.Tensor) -> tf.Tensor:
    """Concatenate the rows of all replicas. Gradients flow back to the replica that each row came from.

    Args:
        rows: `[b, ...]`, this replica's part of the batch.

    Returns:
        `[B, ...]`, the rows of the whole batch, the same on each replica.

    Example:
        >>> whole_batch(tf.constant([1.0, 2.0])).numpy().tolist()
        [1.0, 2.0]
    """
    context = _context()
    return rows if context is None else context.all_gather(rows, axis=0)


def n_replicas() -> int:
    """Return the number of replicas that share the current batch; 1 outside of a replica."""
    context = _context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Return whether the replicas of a strategy run in several processes.

    Example:
        >>> has_several_workers(tf.distribute.get_strategy())
        False
    """
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()


def step_of_all_workers(
    strategy: tf.distribute.Strategy, step: Callable[[Any], dict[str, tf.Tensor]]
) -> Callable[[Iterator[Any]], dict[str, tf.Tensor]]:
    """Wrap a replica's step into the function that `fit` and `evaluate` call; Keras's own averages over an axis.

    Args:
        strategy: a `MultiWorkerMirroredStrategy`.
        step: function from a replica's part of the batch to scalars that are the same on each replica.

    Returns:
        A function from an iterator over distributed batches to those scalars.

    Source: https://github.com/keras-team/keras/issues/20585
    """

    # The batch is read within the function: from outside each shape would be traced anew.
    @tf.function(reduce_retracing=True, autograph=False)
    def run(iterator: Iterator[Any]) -> dict[str, tf.Tensor]:
        outputs = strategy.run(step, args=(next(iterator),))
        return {name: strategy.experimental_local_results(value)[0] for name, value in outputs.items()}

    return run


def _context() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
