"""How long training waits for its input, read off TensorFlow's profiler."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.models import LACLRec

ASKING = "IteratorGetNextOp::DoCompute"
STEPS = 60


def input_wait_share(model: LACLRec, batches: tf.data.Dataset, steps: int = STEPS) -> float:
    """Profile some training steps, and say which share of their time the step waits for its batch.

    The first batch is left out: before it the shuffle buffers fill, once an epoch.

    Args:
        model: a compiled model, trained already, so that nothing is traced here.
        batches: its training batches.
        steps: how many steps to profile, at least 2. Default: 60.

    Returns:
        A share from 0 to 1.

    Raises:
        InputError: the profile does not show when a step asks for its batch, or shows one step only.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Ops and the iterator's own events; not Python's calls, which would slow the steps down.
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
        tf.profiler.experimental.start(folder, options)
        try:
            model.fit(batches.take(steps), epochs=1, shuffle=False, verbose=0)
        finally:
            tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        return _waiting(_events(file.read_bytes(), ASKING))


def _events(profile: bytes, name: str) -> list[tuple[float, float]]:
    """Return start and duration, in seconds, of each event of that name."""
    space = xplane_pb2.XSpace.FromString(profile)
    found = []
    for plane in space.planes:
        wanted = {key for key, value in plane.event_metadata.items() if value.name.split("#")[0] == name}
        for line in plane.lines:
            found += [
                (line.timestamp_ns / 1e9 + event.offset_ps / 1e12, event.duration_ps / 1e12)
                for event in line.events
                if event.metadata_id in wanted
            ]
    return sorted(found)


def _waiting(asking: list[tuple[float, float]]) -> float:
    if len(asking) < 2:
        raise InputError(
            f"The profile that TensorFlow {tf.__version__} wrote holds {len(asking)} events {ASKING!r}; waiting for "
            "input is measured between two of them. Install the TensorFlow of constraints.txt."
        )
    (first, duration), *others = asking
    last = others[-1]
    elapsed = last[0] + last[1] - (first + duration)
    return min(1.0, sum(waited for _, waited in others) / elapsed)


def batches_of(dataset: tf.data.Dataset, count: int) -> list[dict[str, Any]]:
    """Return about `count` batches, spread evenly over an epoch, so that all lengths are among them."""
    every = max(1, int(dataset.cardinality()) // count)
    return list(dataset.shard(every, 0).take(count))
