"""The processes that train together, as named by the environment. By default one process trains alone."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.input_util import get_distributed_datasets_from_function

from laclrec_tf.errors import InputError

_GO = b"go"
PATIENCE_MINUTES = 15.0


def join_workers(
    environment: MutableMapping[str, str] = os.environ, patience_minutes: float = PATIENCE_MINUTES
) -> WorkerGroup:
    """Join the workers in `TF_CONFIG` or in Vertex AI's `CLUSTER_SPEC`. Call this before any other use of TensorFlow.

    Args:
        environment: environment variables. Default: those of this process.
        patience_minutes: max minutes to wait for the other workers. Default: 15.

    Returns:
        The group; this process alone if neither variable names several workers.

    Raises:
        InputError: a variable cannot be read or names other tasks than a chief and workers, or a worker does not start
            or has several accelerators.
    """
    config = _tf_config(environment)
    addresses = [address for kind in ("chief", "worker") for address in config["cluster"].get(kind, [])]
    if len(addresses) < 2:
        return WorkerGroup()
    task = config["task"]
    index = task["index"] + (len(config["cluster"].get("chief", [])) if task["type"] == "worker" else 0)
    environment["TF_CONFIG"] = json.dumps(config)

    meet(addresses, index, 60 * patience_minutes)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise InputError(
            f"Worker {index} of {len(addresses)} cannot connect to the others at {addresses[index]} "
            f"({' '.join(error.message.split())[:200]}). Check on each machine that no other process uses that port."
        ) from error
    if strategy.num_replicas_in_sync > len(addresses):
        raise InputError(
            f"Each worker uses one accelerator, but {len(addresses)} workers have {strategy.num_replicas_in_sync}. "
            "Start a worker for each, or hide the others with CUDA_VISIBLE_DEVICES."
        )
    return WorkerGroup(len(addresses), index, strategy)


def _tf_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read `TF_CONFIG`, or convert Vertex AI's `CLUSTER_SPEC` to it.

    Source: https://cloud.google.com/vertex-ai/docs/training/distributed-training
    """
    name = "TF_CONFIG" if environment.get("TF_CONFIG") else "CLUSTER_SPEC"
    if not environment.get(name):
        return {"cluster": {}, "task": {"type": "worker", "index": 0}}
    try:
        given = json.loads(environment[name])
        cluster = {str(kind): [str(each) for each in tasks] for kind, tasks in given.get("cluster", {}).items()}
        kind, index = (str(given["task"]["type"]), int(given["task"]["index"])) if cluster else ("worker", 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f'The environment variable {name} must be JSON like {{"cluster": {{"worker": ["HOST:PORT"]}}, "task": '
            f'{{"type": "worker", "index": 0}}}}. Received: {environment[name]!r}.'
        ) from None
    names = {"workerpool0": "chief", "workerpool1": "worker"}
    cluster = {names.get(kind, kind): tasks for kind, tasks in cluster.items() if tasks}
    kind = names.get(kind, kind)
    foreign = sorted(cluster.keys() - {"chief", "worker"})
    if foreign or (cluster and not 0 <= index < len(cluster.get(kind, []))):
        fault = f"has {', '.join(foreign)}" if foreign else f"has no {kind} {index}, which it says this process is"
        raise InputError(
            f"The cluster in {name} must consist of a chief and workers (worker pools 0 and 1), but it {fault}."
        )
    return {"cluster": cluster, "task": {"type": kind, "index": index}}


def meet(addresses: Sequence[str], index: int, patience: float) -> None:
    """Wait until all workers have called this.

    The chief listens at its own address until every other worker has sent its index.

    Args:
        addresses: `HOST:PORT` of each worker, the chief's first.
        index: index of this worker.
        patience: max seconds to wait.

    Raises:
        InputError: a worker did not call in time, the chief cannot be reached, or an address is invalid; the message
            names it.

    Example:
        >>> meet(["127.0.0.1:2222"], 0, 1.0)  # alone
    """
    deadline = time.monotonic() + patience
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(f"A worker's address must be HOST:PORT. Received: {address!r}.")
    host, _, port = addresses[0].rpartition(":")
    try:
        if index == 0:
            _wait_for_others(int(port), len(addresses), deadline)
        else:
            _report_to_chief(host, int(port), index, deadline)
    except _Missing as missing:
        raise InputError(
            f"Worker {index} of {len(addresses)} waited {patience:g} s without an answer from {missing}: "
            f"{', '.join(addresses[each] for each in missing.workers)}. Read the log there, and check that each "
            "machine can reach the others' ports."
        ) from None
    except OSError as error:
        raise InputError(f"Worker {index} cannot listen at {addresses[0]}: {error.strerror}.") from error


class _Missing(Exception):
    def __init__(self, workers: Sequence[int]) -> None:
        super().__init__("worker " + ", ".join(map(str, workers)))
        self.workers = workers


def _wait_for_others(port: int, count: int, deadline: float) -> None:
    present: dict[int, socket.socket] = {}
    with ExitStack() as open_sockets, socket.create_server(("", port)) as listener:
        while len(present) < count - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise _Missing([each for each in range(1, count) if each not in present])
            try:
                connection = open_sockets.enter_context(listener.accept()[0])
                connection.settimeout(1.0)
                message = connection.recv(16)
            except OSError:  # no connection, or one that was closed without a message
                continue
            if message.isdigit() and 0 < int(message) < count:  # any process may connect
                present[int(message)] = connection
        for worker, connection in present.items():
            try:
                connection.sendall(_GO)
            except OSError:
                raise _Missing([worker]) from None


def _report_to_chief(host: str, port: int, index: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, port), timeout=max(0.01, deadline - time.monotonic())) as chief:
                chief.sendall(str(index).encode())
                if chief.recv(16) == _GO:
                    return
        except OSError:  # not started yet, or restarting
            pass
        time.sleep(0.2)
    raise _Missing([0])


@dataclass(frozen=True)
class WorkerGroup:
    """One of the processes that train together.

    Args:
        count: number of workers. Default: 1.
        index: index of this worker; 0 is the chief, which alone writes. Default: 0.
        strategy: distribution strategy of the training steps. Default: that of one process.

    Example:
        >>> WorkerGroup().is_chief, WorkerGroup().smallest(7)
        (True, 7)
    """

    count: int = 1
    index: int = 0
    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the chief, which writes."""
        return self.index == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no other workers."""
        return self.count == 1

    def smallest(self, value: int) -> int:
        """Return the smallest of all workers' values. Each worker must call this."""
        return min(self._all(value))

    def largest(self, value: int) -> int:
        """Return the largest of all workers' values. Each worker must call this."""
        return max(self._all(value))

    def distribute(self, make: Callable[[], tf.data.Dataset]) -> Any:
        """Return a dataset whose steps train on one batch of each worker's own dataset."""
        if self.is_alone:
            return make()
        if self.strategy.num_replicas_in_sync > self.count:
            return self.strategy.distribute_datasets_from_function(lambda context: make())
        # This is what `distribute_datasets_from_function` does, but for one device, and without a second iterator that
        # copies batches to it. tf.data tunes that iterator in a thread, whatever the dataset's options are. When the
        # iterator ends while all cores are busy, it can miss that the thread was cancelled, and wait for up to 60 s.
        options = tf.distribute.InputOptions(
            experimental_fetch_to_device=False,
            experimental_replication_mode=tf.distribute.InputReplicationMode.PER_REPLICA,
        )
        extended = self.strategy.extended
        return get_distributed_datasets_from_function(
            lambda context: make(),
            extended._input_workers_with_options(options),
            [extended._make_input_context()],
            self.strategy,
            options,
        )

    def _all(self, value: int) -> list[int]:
        if self.is_alone:
            return [value]
        return self._gather(tf.constant(value)).numpy().tolist()

    @cached_property
    def _gather(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A traced function, because an eager gather would trace one at every call."""

        @tf.function(autograph=False)
        def gather(value: tf.Tensor) -> tf.Tensor:
            gathered = self.strategy.run(
                lambda: tf.distribute.get_replica_context().all_gather(value[tf.newaxis], axis=0)
            )
            return self.strategy.experimental_local_results(gathered)[0]

        return gather


@contextmanager
def agreed(workers: WorkerGroup) -> Iterator[None]:
    """Stop all workers if the block fails on one of them. All of them must reach the end of the block.

    Raises:
        InputError: the block failed on this worker, or on another, whose log says why.

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
    with lost_worker_as_input_error(workers):
        refused = workers.largest(0 if refusal is None else 1 + workers.index) - 1
    if refusal is not None:
        raise refusal
    if refused >= 0:
        raise InputError(f"Worker {refused} of {workers.count} refuses to train. Its log says why.")


@contextmanager
def lost_worker_as_input_error(workers: WorkerGroup) -> Iterator[None]:
    """Convert TensorFlow's error of a lost worker into a one-line `InputError`.

    Raises:
        InputError: another worker is lost.

    Example:
        >>> with lost_worker_as_input_error(WorkerGroup()):
        ...     pass
    """
    try:
        yield
    except tf.errors.OpError as error:
        if workers.is_alone:
            raise
        raise InputError(
            f"Worker {workers.index} of {workers.count} lost its connection to another, whose log says why "
            f"({' '.join(error.message.split())[:200]}). Start all workers again with --resume."
        ) from error
