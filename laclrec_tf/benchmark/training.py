"""Measure training: seconds an epoch, memory, where the time goes, and how close it comes to the machine's peak."""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from laclrec_tf.benchmark.flops import matrix_peak, operations_of
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.data.splits import training_part
from laclrec_tf.errors import InputError
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.models import LACLRec
from laclrec_tf.runtime.machine import package_versions, processor_name
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import progress_bar
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.setup import compile_model, new_model, training_batches

ASKING = "IteratorGetNextOp::DoCompute"
STEPS = 60
SAMPLED_BATCHES = 24


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


def step_parts(
    model: LACLRec, batches: Sequence[dict[str, Any]], repeats: int = 3, seconds_at_most: float = 120.0
) -> dict[str, float]:
    """Share out the time of a training step.

    The softmax's share is what the step takes less when each cross-entropy over the catalogue (next item, views,
    insertions) is replaced by a mean of squares; the augmenter's, what it takes less when besides that nothing is
    edited or repaired; the optimizer's, what the step takes more than its gradients. The rest is the encoder's:
    embeddings, transformer blocks, the other losses, the statistics.

    Args:
        model: a compiled model.
        batches: batches of the sizes that training sees.
        repeats: times each variant goes over the batches; the fastest counts. Default: 3.
        seconds_at_most: no further repeat of a variant is begun after so long. Default: 120.

    Returns:
        Shares by name, "encoder", "softmax", "augmenter" and "optimizer", adding up to 1.
    """
    signature = [{name: tf.TensorSpec([None] * len(value.shape), value.dtype) for name, value in batches[0].items()}]

    def timed(step: Callable[[dict[str, tf.Tensor]], Any]) -> float:
        compiled = tf.function(step, input_signature=signature, jit_compile=model.static_shapes, autograph=False)
        seconds: list[float] = []
        began = time.perf_counter()
        while len(seconds) <= repeats and (len(seconds) < 2 or time.perf_counter() - began < seconds_at_most):
            started = time.perf_counter()
            for batch in batches:
                result = compiled(batch)
            _ = [value.numpy() for value in tf.nest.flatten(result)]
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:])  # the first pass traces

    def gradients_of(variant: LACLRec) -> float:
        def gradients(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                terms, _ = variant.losses_of(batch, training=True)
                loss = sum(variant.term_weights[name] * term for name, term in terms.items())
            found = tape.gradient(loss, variant.trainable_variables)
            # A row of each, so that every gradient is computed and none is copied out.
            values = [part.values if isinstance(part, tf.IndexedSlices) else part for part in found]
            return [value[:1] for value in values if value is not None]

        return timed(gradients)

    def without_softmax(**changes: Any) -> LACLRec:
        variant = LACLRec.from_config(model.get_config() | changes)
        variant.set_weights(model.get_weights())
        variant.static_shapes = model.static_shapes
        variant.catalogue.loss = _mean_of_squares
        return variant

    step = timed(model.train_step)
    gradients = min(gradients_of(model), step)
    no_softmax = min(gradients_of(without_softmax()), gradients)
    no_augmenter = no_softmax
    if model.has_augmenter:
        raw_views = without_softmax(lambda_aug=0.0)
        raw_views.learned_edits = lambda history: Edits(  # type: ignore[method-assign]
            tf.zeros_like(history), None, None, history
        )
        no_augmenter = min(gradients_of(raw_views), no_softmax)
    return {
        "encoder": no_augmenter / step,
        "softmax": (gradients - no_softmax) / step,
        "augmenter": (no_softmax - no_augmenter) / step,
        "optimizer": (step - gradients) / step,
    }


def _mean_of_squares(vectors: tf.Tensor, *_: Any, **__: Any) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(tf.square(vectors), tf.float32))


def benchmark(
    data: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    epochs: int = 3,
    json_out: str | Path | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Train for a few epochs and report what they cost. Nothing is validated, kept or written but the report.

    Args:
        data: a folder made by `laclrec-tf prepare`. Default: 5,000 simulated users, made anew.
        config: settings. Default: `TrainConfig()`, the preset "laclrec".
        epochs: epochs that are timed, after a first one that is not. Default: 3.
        json_out: also write the report to this file. Default: no.
        show_progress: Default: True.

    Returns:
        See `measure`; besides, what was measured: `preset`, `settings`, `data_hash`, `users`, `versions`, `machine`.

    Raises:
        InputError: the data cannot be read, or the report cannot be written.
    """
    config = config or TrainConfig()
    if epochs < 1:
        raise InputError(f"Argument `epochs` must be at least 1. Received: {epochs}.")
    report_file = None if json_out is None else ReportFile(json_out)
    with tempfile.TemporaryDirectory() as folder:
        prepared = _simulated(Path(folder)) if data is None else PreparedData.open(data)
        _, histories = prepared.histories()
    training = [training_part(history, "strict") for history in histories]
    measured = measure(
        training,
        prepared.vocabulary.n_items,
        prepared.max_length,
        config,
        epochs=epochs,
        show_progress=show_progress,
    )
    report = {
        "preset": config.preset,
        "settings": config.as_dict(),
        "data_hash": prepared.data_hash,
        "users": len(histories),
        **measured,
        "machine": f"{processor_name()}, {platform.machine()}",
        "versions": package_versions(),
    }
    if report_file is not None:
        report_file.write_json(report)
    return report


def measure(
    training: list[np.ndarray],
    n_items: int,
    max_length: int,
    config: TrainConfig,
    *,
    epochs: int = 3,
    parts: bool = True,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Train on histories in memory and say what it cost.

    Args:
        training: per user `[n]` int32 ids, oldest first, the last one a target.
        n_items: catalogue size `N`.
        max_length: longest history.
        config: settings.
        epochs: epochs that are timed. Default: 3.
        parts: also find where the time goes and how close to the machine's peak it comes. Default: True.
        show_progress: Default: True.

    Returns:
        `items`; `histories` an epoch; `steps` an epoch; `seconds_per_epoch`, the median; `milliseconds_per_step`;
        `histories_per_second`; `first_step_seconds`, tracing included; `peak_memory_gb`, the most this process ever
        held, in 10^9 bytes; `reading_seconds`, an epoch's input alone. With `parts` also `shares` of an epoch's
        time (`input`, `encoder`, `softmax`, `augmenter`, `optimizer`), `operations_per_epoch` in matrix products,
        `matrix_peak` in operations a second and `fraction_of_peak`.

    Raises:
        InputError: no history has two items, or with `parts` all are in one batch.
    """
    usable = sum(len(history) >= 2 for history in training)
    keras.utils.set_random_seed(config.seed)
    model = new_model(config, n_items, max_length)
    batches = training_batches(config, model, training)
    n_steps = int(batches.cardinality())
    if parts and n_steps < 2:
        raise InputError(
            "Where the time goes is measured over an epoch of two batches or more. Received: one batch of "
            f"{usable} histories. Prepare more events, or give a smaller --set targets_per_batch."
        )
    compile_model(config, model, n_steps)
    with progress_bar(disable=not show_progress) as progress:
        task = progress.add_task("First step", total=epochs + (4 if parts else 2))

        def note(what: str) -> None:
            progress.update(task, advance=1, description=what)

        started = time.perf_counter()
        model.fit(batches.take(1), epochs=1, shuffle=False, verbose=0)
        first_step = time.perf_counter() - started
        seconds: list[float] = []
        for epoch in range(epochs + 1):
            note(f"Epoch {epoch + 1}/{epochs + 1}")
            started = time.perf_counter()
            model.fit(batches, epochs=1, shuffle=False, verbose=0)
            seconds.append(time.perf_counter() - started)
        # The first epoch fills the cache, and traces or compiles what its shapes ask for.
        per_epoch = statistics.median(seconds[1:])
        memory = _peak_memory()
        started = time.perf_counter()
        for _ in batches:
            pass
        report: dict[str, Any] = {
            "items": n_items,
            "histories": usable,
            "steps": n_steps,
            "epochs_seconds": [round(each, 3) for each in seconds],
            "seconds_per_epoch": per_epoch,
            "milliseconds_per_step": 1e3 * per_epoch / n_steps,
            "histories_per_second": usable / per_epoch,
            "first_step_seconds": first_step,
            "peak_memory_gb": memory,
            "reading_seconds": time.perf_counter() - started,
        }
        if parts:
            note("Waiting for input")
            waiting = input_wait_share(model, batches)
            note("Parts of a step")
            some = batches_of(batches, SAMPLED_BATCHES)
            operations = n_steps * statistics.mean(operations_of(model, batch) for batch in some)
            shares = step_parts(model, some)
            peak = matrix_peak("bfloat16" if config.precision == "mixed_bfloat16" else "float32")
            report |= {
                "shares": {"input": waiting} | {name: (1 - waiting) * share for name, share in shares.items()},
                "operations_per_epoch": operations,
                "matrix_peak": peak,
                "fraction_of_peak": operations / per_epoch / peak,
            }
    return report


def _simulated(folder: Path) -> PreparedData:
    simulate_events(folder / "events.csv", users=5000, items=2000)
    return prepare([folder / "events.csv"], folder / "data", show_progress=False)


def _peak_memory() -> float:
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
