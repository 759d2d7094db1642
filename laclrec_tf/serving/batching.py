"""How requests are batched."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Protocol

from laclrec_tf.errors import InputError

_SMALLEST = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}


@dataclass(frozen=True)
class Batching:
    """TensorFlow Serving's batching parameters, with defaults that measured best for retrieval on few processors.

    Args:
        max_batch_size: rows that are run together. 1 switches batching off. Default: 64.
        batch_timeout_micros: how long a request waits for others, in microseconds. Default: 0, a batch is
            whatever is waiting when a thread is free.
        max_enqueued_batches: full batches that may wait; what comes on top is answered UNAVAILABLE. Default: 64.
        num_batch_threads: batches that run at the same time. Default: one less than processors, at least 1; one
            processor reads requests and writes answers.

    Raises:
        InputError: a parameter is out of its range.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md

    Example:
        >>> Batching(max_batch_size=32).batch_timeout_micros
        0
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = field(default_factory=lambda: max(1, (os.cpu_count() or 1) - 1))

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name, smallest in _SMALLEST.items():
            value = getattr(self, name)
            if value < smallest:
                raise InputError(f"Argument `{name}` must be at least {smallest}. Received: {name}={value}.")


class BatchingParameters(Protocol):
    """Anything with TensorFlow Serving's four parameters."""

    @property
    def max_batch_size(self) -> int:
        """Rows that are run together."""

    @property
    def batch_timeout_micros(self) -> int:
        """How long a request waits for others."""

    @property
    def max_enqueued_batches(self) -> int:
        """Full batches that may wait."""

    @property
    def num_batch_threads(self) -> int:
        """Batches that run at the same time."""
