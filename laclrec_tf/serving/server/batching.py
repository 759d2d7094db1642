"""Batching: requests that wait are run together, because one run for many rows costs far less than many runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.merging import Merging, merged, merging_key, rows_of, split

logger = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]
_MINIMA = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}


@dataclass(frozen=True)
class BatchingParameters:
    """TensorFlow Serving's batching parameters, with defaults that measured best for retrieval on few processors.

    Args:
        max_batch_size: max number of rows of a batch. 1 turns batching off. Default: 64.
        batch_timeout_micros: max microseconds that a request waits for others. Default: 0, a batch is whatever waits
            when a thread is free.
        max_enqueued_batches: max number of full batches that wait; further requests are UNAVAILABLE. Default: 64.
        num_batch_threads: max number of batches that run at the same time. Default: one less than the processors, at
            least 1; the remaining processor reads requests and writes answers.

    Raises:
        InputError: a parameter is out of its range.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md

    Example:
        >>> BatchingParameters(max_batch_size=32).batch_timeout_micros
        0
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = field(default_factory=lambda: max(1, (os.cpu_count() or 1) - 1))

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name, minimum in _MINIMA.items():
            value = getattr(self, name)
            if value < minimum:
                raise InputError(f"Argument `{name}` must be at least {minimum}. Received: {name}={value}.")


class RequestBatcher:
    """Runs requests in its own threads; requests that can be merged run together.

    Requests can be merged when they call the same signature of the same version with equal scalars. When a merged run
    fails, each of its requests runs alone, so that only the bad ones fail.

    Args:
        parameters: see `BatchingParameters`.
        on_batch: called with the model's name and the number of rows of each run. Default: nothing.

    Example:
        >>> batcher = RequestBatcher(BatchingParameters())
        >>> double = lambda inputs: {"y": 2 * inputs["x"]}
        >>> batcher.submit("shop", ("shop", 1), double, {"x": np.array([1, 2])}, Merging.PADDED).result()
        {'y': array([2, 4])}
        >>> batcher.close()
    """

    def __init__(self, parameters: BatchingParameters, on_batch: Callable[[str, int], None] | None = None) -> None:
        self.parameters = parameters
        self._on_batch = on_batch
        self._capacity = parameters.max_enqueued_batches * parameters.max_batch_size
        self._timeout = parameters.batch_timeout_micros / 1e6
        self._changed = threading.Condition()
        self._groups: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()  # the next one to run is first
        self._n_waiting = 0  # rows
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        model: str,
        signature: Hashable,
        run: Callable[[Arrays], Arrays],
        inputs: Arrays,
        merging: Merging,
        deadline: float | None = None,
    ) -> Future[Arrays]:
        """Queue a request.

        Args:
            model: name of the model, for `on_batch`.
            signature: identifies what `run` runs: equal for the same signature of the same version.
            run: calls the model; may raise `ServingError`.
            inputs: arrays by name.
            merging: which requests for this signature may be merged.
            deadline: time of `time.monotonic()` after which the request is not run. Default: none.

        Returns:
            A future of the outputs. It holds a `ServingError` when the request cannot be answered, with
            DEADLINE_EXCEEDED when it was not run in time.

        Raises:
            ServingError: UNAVAILABLE, the queue is full or the batcher is closed.
        """
        waiting = _Waiting(run, inputs, rows_of(inputs) or 1, deadline, time.monotonic())
        key = merging_key(inputs, merging) if self.parameters.max_batch_size > 1 else None
        with self._changed:
            if self._closed:
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")
            # A request that is larger than the whole queue is accepted when nothing else waits.
            if self._n_waiting and self._n_waiting + waiting.rows > self._capacity:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    f"The batch scheduling queue is full: {self.parameters.max_enqueued_batches} batches "
                    "(max_enqueued_batches) are waiting. Try again later.",
                )
            group = (model, signature, object() if key is None else key)
            self._groups.setdefault(group, deque()).append(waiting)
            self._n_waiting += waiting.rows
            self._changed.notify()
        return waiting.outputs

    def close(self) -> None:
        """Answer the waiting requests, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (taken := self._next_batch()) is not None:
            model, batch = taken
            batch = [waiting for waiting in batch if _start(waiting)]
            if batch:
                self._run(model, batch)
            del batch, taken  # else they would keep an unloaded version alive until the next request

    def _next_batch(self) -> tuple[str, list[_Waiting]] | None:
        with self._changed:
            while True:
                waits = {key: self._seconds_to_wait(group) for key, group in self._groups.items()}
                for key, wait in waits.items():
                    if not wait:
                        return key[0], self._take(key)  # type: ignore[index]
                if self._closed and not self._groups:
                    return None
                self._changed.wait(min(waits.values(), default=None))

    def _seconds_to_wait(self, group: deque[_Waiting]) -> float:
        if self._closed or not self._timeout:
            return 0.0
        rows = (waiting.rows for waiting in group if not waiting.outputs.cancelled())
        if sum(rows) >= self.parameters.max_batch_size:
            return 0.0
        return max(0.0, group[0].since + self._timeout - time.monotonic())

    def _take(self, key: Hashable) -> list[_Waiting]:
        group = self._groups[key]
        batch = [group.popleft()]
        rows = batch[0].rows
        while group and rows + group[0].rows <= self.parameters.max_batch_size:
            rows += group[0].rows
            batch.append(group.popleft())
        self._n_waiting -= rows
        if group:
            self._groups.move_to_end(key)
            self._changed.notify()
        else:
            del self._groups[key]
        return batch

    def _run(self, model: str, batch: list[_Waiting]) -> None:
        rows = [waiting.rows for waiting in batch]
        if self._on_batch:
            self._on_batch(model, sum(rows))
        if len(batch) > 1:
            try:
                parts = split(batch[0].run(merged([waiting.inputs for waiting in batch], rows)), rows)
            except Exception as error:
                if not isinstance(error, ServingError):
                    logger.exception("a merged run of %s failed; each request runs alone", model)
                parts = None
            if parts is not None:
                for waiting, outputs in zip(batch, parts, strict=True):
                    waiting.outputs.set_result(outputs)
                return
        for waiting in batch:
            try:
                outputs = waiting.run(waiting.inputs)
            except Exception as error:
                waiting.outputs.set_exception(error)
            else:
                waiting.outputs.set_result(outputs)


@dataclass
class _Waiting:
    """A request in the queue."""

    run: Callable[[Arrays], Arrays]
    inputs: Arrays
    rows: int
    deadline: float | None
    since: float
    outputs: Future[Arrays] = field(default_factory=Future)


def _start(waiting: _Waiting) -> bool:
    """Mark a request as running, unless it is cancelled or late."""
    if not waiting.outputs.set_running_or_notify_cancel():
        return False
    if waiting.deadline is not None and time.monotonic() >= waiting.deadline:
        waiting.outputs.set_exception(
            ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The request's deadline passed before it was run.")
        )
        return False
    return True
