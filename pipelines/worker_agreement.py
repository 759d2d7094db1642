"""Workers that end together, with a line each, when one of them refuses or is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from laclrec_tf.errors import InputError
from pipelines.worker_group import WorkerGroup


@contextmanager
def agreed(workers: WorkerGroup) -> Iterator[None]:
    """Let no worker go on when another one refuses: all of them must come to the end of the block.

    Raises:
        InputError: the block's, or that of which another worker's log tells.

    Example:
        >>> with agreed(WorkerGroup()):
        ...     pass
    """
    refusal: InputError | None = None
    try:
        yield
    except InputError as error:
        refusal = error
    if workers.is_alone:
        if refusal is not None:
            raise refusal
        return
    with lost_workers_named(workers):
        refused = workers.largest(0 if refusal is None else 1 + workers.index) - 1
    if refusal is not None:
        raise refusal
    if refused >= 0:
        raise InputError(f"Worker {refused} of {workers.count} refuses to train; its log says why.")


@contextmanager
def lost_workers_named(workers: WorkerGroup) -> Iterator[None]:
    """Turn what TensorFlow says when another worker is gone into one line.

    Raises:
        InputError: another worker is gone.

    Example:
        >>> with lost_workers_named(WorkerGroup()):
        ...     pass
    """
    try:
        yield
    except tf.errors.OpError as error:
        if workers.is_alone:
            raise
        raise InputError(
            f"Worker {workers.index} of {workers.count} lost touch with another, whose log says why "
            f"({' '.join(error.message.split())[:200]}). Start all of them again with --resume."
        ) from error
