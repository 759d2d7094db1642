"""Measure training: time, memory, the shares of a step's parts, and how close training comes to the machine's peak."""

from __future__ import annotations

import functools
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

from laclrec_tf.benchmark.flops import catalogue_losses, matrix_peak, operations_of
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.data.splits import Window
from laclrec_tf.errors import InputError
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.masking import take_prefixes
from laclrec_tf.runtime.machine import package_versions, processor_name
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import progress_bar
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.setup import compile_model, new_model, training_batches

NEXT_BATCH = "IteratorGetNextOp::DoCompute"  # the profiler's name for a step's request for its next batch
STEPS = 60
SAMPLED_BATCHES = 24


def benchmark(
    data: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    epochs: int = 3,
    json_out: str | Path | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Train for a few epochs and report the cost. Nothing is validated, and no model is saved.

    Args:
        data: Folder made by `laclrec-tf prepare`. Default: None, 5,000 users that are simulated here.
        config: Settings of the training. Default: `TrainConfig()`, the preset "laclrec".
        epochs: Number of epochs to time, after a first one that is not timed. Default: 3.
        json_out: File to which the report is written as well. Default: None.
        show_progress: Whether to show a progress bar on standard error. Default: True.

    Returns:
        The result of `measure`, and `preset`, `settings`, `data_hash`, `users`, `versions` and `machine`.

    Raises:
        InputError: `epochs` is below 1, the data cannot be read, or the report cannot be written.

    Example:
        >>> benchmark("data", epochs=1)["seconds_per_epoch"]  # doctest: +SKIP
        27.9
    """
    config = config or TrainConfig()
    if epochs < 1:
        raise InputError(f"Argument `epochs` must be at least 1. Received: {epochs}.")
    report_file = None if json_out is None else ReportFile(json_out)
    with tempfile.TemporaryDirectory() as folder:
        prepared = _simulated(Path(folder)) if data is None else PreparedData.open(data)
        training = prepared.split().training("strict")
    report = {
        "preset": config.preset,
        "settings": config.as_dict(),
        "data_hash": prepared.data_hash,
        "users": len(training),
        **measure(
            training,
            prepared.vocabulary.n_items,
            prepared.max_length,
            config,
            window=prepared.window,
            epochs=epochs,
            show_progress=show_progress,
        ),
        "machine": f"{processor_name()}, {platform.machine()}",
        "versions": package_versions(),
    }
    if report_file is not None:
        report_file.write_json(report)
    return report


def _simulated(folder: Path) -> PreparedData:
    simulate_events(folder / "events.csv", users=5000, items=2000)
    return prepare([folder / "events.csv"], folder / "data", show_progress=False)


def measure(
    training: list[np.ndarray],
    n_items: int,
    max_length: int,
    config: TrainConfig,
    *,
    window: Window = "last",
    epochs: int = 3,
    parts: bool = True,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Train on histories in memory and report the cost.

    Args:
        training: Per user `[n]` int32 ids, oldest first; the last one is a target.
        n_items: Catalogue size `N`.
        max_length: Length of the longest history.
        config: Settings of the training.
        window: What is trained on of histories that are longer. Default: "last".
        epochs: Number of epochs to time, after a first one that is not timed. Default: 3.
        parts: Whether to measure also the shares of a step's parts and the fraction of the peak. Default: True.
        show_progress: Whether to show a progress bar on standard error. Default: True.

    Returns:
        `items`; `histories` and `steps` per epoch; `epochs_seconds` of each epoch and their median
        `seconds_per_epoch`; `milliseconds_per_step`; `histories_per_second`; `first_step_seconds`, tracing included;
        `peak_memory_gb`, the process's peak in 10^9 bytes; `reading_seconds`, the time to read an epoch's batches
        without training. With `parts` also `shares` of an epoch's time (`input`, `encoder`, `softmax`, `augmenter`,
        `optimizer`), `operations_per_epoch` in matrix products, `matrix_peak` in operations per second and
        `fraction_of_peak`.

    Raises:
        InputError: No history has two items, or all histories fit in one batch and `parts` is True.
    """
    usable = sum(len(history) >= 2 for history in training)
    keras.utils.set_random_seed(config.seed)
    model = new_model(config, n_items, max_length)
    batches = training_batches(config, model, training, window=window)
    n_steps = int(batches.cardinality())
    if parts and n_steps < 2:
        raise InputError(
            f"The shares of a step's parts need an epoch of at least two batches. Received: one batch of {usable} "
            "histories. Prepare more events, or give a smaller --set targets_per_batch."
        )
    compile_model(config, model, n_steps)
    with progress_bar(disable=not show_progress) as progress:
        task = progress.add_task("First step", total=epochs + (4 if parts else 2))

        def show(step: str) -> None:
            progress.update(task, advance=1, description=step)

        started = time.perf_counter()
        model.fit(batches.take(1), epochs=1, shuffle=False, verbose=0)
        first_step = time.perf_counter() - started
        seconds: list[float] = []
        for epoch in range(epochs + 1):
            show(f"Epoch {epoch + 1}/{epochs + 1}")
            started = time.perf_counter()
            model.fit(batches, epochs=1, shuffle=False, verbose=0)
            seconds.append(time.perf_counter() - started)
        # The first epoch also fills the cache, and traces or compiles.
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
            show("Waiting for input")
            waiting = input_wait_share(model, batches)
            show("Parts of a step")
            sample = sample_batches(batches, SAMPLED_BATCHES)
            operations = n_steps * statistics.mean(operations_of(model, batch) for batch in sample)
            shares = step_parts(model, sample)
            peak = matrix_peak("bfloat16" if config.precision == "mixed_bfloat16" else "float32")
            report |= {
                "shares": {"input": waiting} | {name: (1 - waiting) * share for name, share in shares.items()},
                "operations_per_epoch": operations,
                "matrix_peak": peak,
                "fraction_of_peak": operations / per_epoch / peak,
            }
    return report


def _peak_memory() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def sample_batches(dataset: tf.data.Dataset, count: int) -> list[dict[str, Any]]:
    """Return about `count` batches, spread evenly over an epoch, so that batches of all lengths are included."""
    every = max(1, int(dataset.cardinality()) // count)
    return list(dataset.shard(every, 0).take(count))


def input_wait_share(model: LACLRec, batches: tf.data.Dataset, steps: int = STEPS) -> float:
    """Profile some training steps and return the share of their time in which they wait for the next batch.

    The first batch does not count, because the shuffle buffers fill before it, once per epoch.

    Args:
        model: Compiled model that was trained before, so that nothing is traced here.
        batches: Its training batches.
        steps: Number of steps to profile, at least 2. Default: 60.

    Returns:
        A share from 0 to 1.

    Raises:
        InputError: The profile shows no requests for batches, or only one.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Level 2 records ops and iterators. Recording Python calls as well would slow the steps down.
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
        tf.profiler.experimental.start(folder, options)
        try:
            model.fit(batches.take(steps), epochs=1, shuffle=False, verbose=0)
        finally:
            tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        return _waiting(_events(file.read_bytes(), NEXT_BATCH))


def _events(profile: bytes, name: str) -> list[tuple[float, float]]:
    """Return start and duration, in seconds, of each event with that name."""
    space = xplane_pb2.XSpace.FromString(profile)
    found = []
    for plane in space.planes:
        matching = {key for key, value in plane.event_metadata.items() if value.name.split("#")[0] == name}
        for line in plane.lines:
            found += [
                (line.timestamp_ns / 1e9 + event.offset_ps / 1e12, event.duration_ps / 1e12)
                for event in line.events
                if event.metadata_id in matching
            ]
    return sorted(found)


def _waiting(requests: list[tuple[float, float]]) -> float:
    if len(requests) < 2:
        raise InputError(
            f"The profile of TensorFlow {tf.__version__} holds {len(requests)} events {NEXT_BATCH!r}, but measuring "
            "the wait for input needs at least two. Install the TensorFlow version of constraints.txt."
        )
    (first, duration), *others = requests
    last = others[-1]
    elapsed = last[0] + last[1] - (first + duration)
    return min(1.0, sum(waited for _, waited in others) / elapsed)


def step_parts(
    model: LACLRec, batches: Sequence[dict[str, Any]], repeats: int = 3, max_seconds: float = 120.0
) -> dict[str, float]:
    """Measure the shares of a training step's time.

    "softmax" is the time of the cross-entropies over the catalogue, forward and backward, on as many random vectors as
    the step has. "augmenter" is the time of the edits that make the learned view, and of the augmenter's own loss,
    forward and backward, without its softmax. "optimizer" is the difference between a step and its gradients. The rest
    is "encoder": embeddings, transformer blocks and the other losses.

    Args:
        model: Compiled model.
        batches: Batches of the sizes that occur in training.
        repeats: Number of times that each part runs over the batches; the fastest counts. Default: 3.
        max_seconds: No further repeat starts after this many seconds. Default: 120.

    Returns:
        The shares by name. Their sum is 1.
    """

    losses = [catalogue_losses(model, batch) for batch in batches]
    seconds = functools.partial(_seconds, jit_compile=model.static_shapes, repeats=repeats, max_seconds=max_seconds)
    step = seconds(model.train_step, batches)
    gradients = min(step, seconds(functools.partial(_gradients, model), batches))
    softmax = {
        name: seconds(functools.partial(_cross_entropy, model, name), [_scored(model, each[name]) for each in losses])
        for name in losses[0]
    }
    augmenter = 0.0
    if model.n_random_views == 1:
        augmenter += seconds(functools.partial(_learned_views, model), batches)
    if "insertions" in softmax:
        objective, model.objective = model.objective, "augmenter"
        augmenter += seconds(functools.partial(_gradients, model), batches) - softmax["insertions"]
        model.objective = objective
    in_softmax = min(sum(softmax.values()), gradients)
    in_augmenter = min(max(augmenter, 0.0), gradients - in_softmax)
    return {
        "encoder": (gradients - in_softmax - in_augmenter) / step,
        "softmax": in_softmax / step,
        "augmenter": in_augmenter / step,
        "optimizer": (step - gradients) / step,
    }


def _seconds(
    part: Callable[[Any], Any], inputs: Sequence[dict[str, Any]], jit_compile: bool, repeats: int, max_seconds: float
) -> float:
    """Return the least time that a part needs for all inputs."""
    signature = [{name: tf.TensorSpec([None] * len(each.shape), each.dtype) for name, each in inputs[0].items()}]
    compiled = tf.function(part, input_signature=signature, jit_compile=jit_compile, autograph=False)
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) <= repeats and (len(seconds) < 2 or time.perf_counter() - began < max_seconds):
        started = time.perf_counter()
        for each in inputs:
            result = compiled(each)
        _ = [value.numpy() for value in tf.nest.flatten(result)]
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])  # the first run traces


def _gradients(model: LACLRec, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        terms, _ = model.losses_of(batch, training=True)
        loss = sum(model.term_weights[name] * term for name, term in terms.items())
    return _first_rows(tape.gradient(loss, model.trainable_variables))


def _cross_entropy(model: LACLRec, name: str, scored: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    vectors = tf.ensure_shape(scored["vectors"], [None, model.width])
    is_run = name == "insertions"
    smoothing = 0.0 if is_run else model.label_smoothing
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = model.catalogue.loss(vectors, scored["targets"], eos_allowed=is_run, label_smoothing=smoothing)
    return _first_rows(tape.gradient(loss, [vectors, model.item_vectors.value]))


def _first_rows(gradients: Sequence[Any]) -> list[tf.Tensor]:
    """Return a row of each gradient: all are computed, and none is copied out."""
    values = [each.values if isinstance(each, tf.IndexedSlices) else each for each in gradients]
    return [value[:1] for value in values if value is not None]


def _scored(model: LACLRec, n_vectors: int) -> dict[str, tf.Tensor]:
    vectors = tf.cast(tf.random.stateless_normal([n_vectors, model.width], [0, 0]), model.compute_dtype)
    targets = tf.random.stateless_uniform([n_vectors], [0, 1], 1, model.n_items + 1, tf.int32)
    return {"vectors": vectors, "targets": targets}


def _learned_views(model: LACLRec, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    edits = model.learned_edits(take_prefixes(batch["history"], batch["prefix_lengths"]))
    return tf.reduce_sum(edits.edited)
