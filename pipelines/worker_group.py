"""The processes that train together, as the environment names them; usually it names none, and one trains alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import tensorflow as tf

from laclrec_tf.errors import InputError
from pipelines.worker_rendezvous import meet

PATIENCE_MINUTES = 15.0


@dataclass(frozen=True)
class WorkerGroup:
    """One of the processes that train together.

    Args:
        count: how many there are. Default: 1.
        index: this one's number; 0 is the chief, who alone writes. Default: 0.
        strategy: how they share a step. Default: the one of a process alone.

    Example:
        >>> WorkerGroup().is_chief, WorkerGroup().smallest(7)
        (True, 7)
    """

    count: int = 1
    index: int = 0
    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)

    @property
    def is_chief(self) -> bool:
        """Whether this one writes."""
        return self.index == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def smallest(self, value: int) -> int:
        """Return the smallest of all workers' values; each must call this."""
        return min(self._all(value))

    def largest(self, value: int) -> int:
        """Return the largest of all workers' values; each must call this."""
        return max(self._all(value))

    def distribute(self, make: Callable[[], tf.data.Dataset]) -> Any:
        """Let each worker train on its own dataset, batch beside batch."""
        return make() if self.is_alone else self.strategy.distribute_datasets_from_function(lambda context: make())

    def _all(self, value: int) -> list[int]:
        if self.is_alone:
            return [value]
        return self._gather(tf.constant(value)).numpy().tolist()

    @cached_property
    def _gather(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Traced once: an eager gather would trace a function at every call."""

        @tf.function(autograph=False)
        def gather(value: tf.Tensor) -> tf.Tensor:
            everybodys = self.strategy.run(
                lambda: tf.distribute.get_replica_context().all_gather(value[tf.newaxis], axis=0)
            )
            return self.strategy.experimental_local_results(everybodys)[0]

        return gather


def join_workers(
    environment: MutableMapping[str, str] = os.environ, patience_minutes: float = PATIENCE_MINUTES
) -> WorkerGroup:
    """Join the workers that `TF_CONFIG` names, or Vertex AI's `CLUSTER_SPEC`, before any other use of TensorFlow.

    Args:
        environment: Default: this process's.
        patience_minutes: how long to wait for the others. Default: 15.

    Returns:
        The group; one worker alone if neither variable names several.

    Raises:
        InputError: a variable cannot be read or names other tasks than a chief and workers, or some worker never comes
            up or has several accelerators.
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
            f"Worker {index} of {len(addresses)} cannot work with the others at {addresses[index]} "
            f"({' '.join(error.message.split())[:200]}). See that nothing else uses that port, on each machine."
        ) from error
    if strategy.num_replicas_in_sync > len(addresses):
        raise InputError(
            f"Each worker takes one accelerator, and there are {strategy.num_replicas_in_sync} for {len(addresses)}. "
            "Start a worker for each, or hide the others with CUDA_VISIBLE_DEVICES."
        )
    return WorkerGroup(len(addresses), index, strategy)


def _tf_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read `TF_CONFIG`, or what it would be for Vertex AI's `CLUSTER_SPEC`.

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
        what = f"{', '.join(foreign)} in it" if foreign else f"no {kind} {index} in its cluster"
        raise InputError(
            f"{name} may name a chief and workers (worker pools 0 and 1), one of them this. There is {what}."
        )
    return {"cluster": cluster, "task": {"type": kind, "index": index}}
