"""Measure a server under load: answers per second, latencies and memory, also while new versions are pushed."""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from laclrec_tf.benchmark.load_generator import CALL_SECONDS, ServerProcess, generate_load, raw_channel
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.machine import MemoryWatch, processor_name, resident_megabytes
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.processes import Repetition
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.serving.client.connection import ModelEndpoint
from laclrec_tf.serving.client.wire import PREDICT, PredictResponse
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.release.publication import COMING, remove_old_versions, rename_to_next_version
from laclrec_tf.serving.version.folder import newest_version
from laclrec_tf.serving.version.metadata import ServedItems

DIFFERENT_REQUESTS = 256
KEPT_VERSIONS = 3
SIGNATURES = ("serving_default", "retrieve")


def loadtest(
    model: str | Path,
    *,
    server: str | None = None,
    model_name: str | None = None,
    serve_arguments: Sequence[str] = (),
    clients: int = 4,
    seconds: float = 10.0,
    signature: str = "serving_default",
    k: int | None = None,
    rows: int = 1,
    push_every: float | None = None,
    seed: int = 0,
    json_out: str | Path | None = None,
) -> dict[str, Any]:
    """Send requests to a server as fast as it answers, from separate processes, and measure the answers.

    Args:
        model: The model's folder, `saved_models/NAME`. Histories are drawn from its items.
        server: `HOST:PORT` of a running server. Default: None; the embedded server is started for the test.
        model_name: Name of the model on the server. Default: None, the folder's name.
        serve_arguments: Further arguments of `laclrec-tf serve` for the server that is started. Default: none.
        clients: Number of requests in flight at any time. Default: 4.
        seconds: Duration in seconds. Default: 10.
        signature: Signature to call: `serving_default` or `retrieve`. Default: `serving_default`.
        k: Number of items to request from `retrieve`. Default: None, 10.
        rows: Number of histories per request. Default: 1.
        push_every: Seconds between two pushes of a copy of the newest version, into a copy of the folder. Default:
            None; nothing is pushed.
        seed: Seed of the histories. Default: 0.
        json_out: File to which the report is written as well. Default: None.

    Returns:
        `model_version`, `model_version_after` and the arguments; `requests`, `failed` and `errors` by status (numbers
        of requests), `failures` (details of the first ones), `requests_per_second`, `latency_ms` and `pushed`. For a
        server that was started here also `first_request_ms` and `memory_mb`.

    Raises:
        InputError: An argument is out of range, the server does not start or answer, or it ended under the load.

    Example:
        >>> loadtest("saved_models/shop", clients=64)["latency_ms"]["p99"]  # doctest: +SKIP
        4.16
    """
    model, name = Path(model), model_name or Path(model).resolve().name
    _check(server, serve_arguments, clients, seconds, signature, k, rows, push_every)
    report_file = None if json_out is None else ReportFile(json_out)
    items = ServedItems.read(model)
    with ExitStack() as stack:
        if push_every is not None:
            model = stack.enter_context(_copy_of(model))
        started = stack.enter_context(_server(model, name, serve_arguments)) if server is None else None
        endpoint = ModelEndpoint(started.target if started else str(server), name)
        requests = load_requests(items, endpoint, signature, rows, k or 10, seed)
        version, first_ms = _first_request(endpoint, requests[0])
        report: dict[str, Any] = {
            "command": shlex.join(["laclrec-tf", *sys.argv[1:]]),
            "machine": f"{processor_name()}, {platform.machine()}",
            "server": server or "the embedded server on the same machine",
            "model": name,
            "model_version": version,
            "items": items.vocabulary.n_items,
            "signature": signature,
            "k": (k or 10) if signature == "retrieve" else None,
            "rows": rows,
            "seed": seed,
        }
        if started:
            report["first_request_ms"] = first_ms
        watch, pusher = MemoryWatch(started.pid if started else None), VersionPusher(model, push_every)
        with _status(f"{clients} clients for {seconds:g} s"):
            report |= _under_load(endpoint.target, requests, clients, seconds, watch, pusher)
        if started and started.exit_code is not None:
            raise InputError(f"The server ended under the load, with code {started.exit_code}: {started.last_line()}")
        report["model_version_after"], _ = _first_request(endpoint, requests[0])
        if started:
            before, after = watch.notes[0][1] if watch.notes else None, resident_megabytes(started.pid)
            report["memory_mb"] = {"before": before, "after": after, "over_time": watch.notes}
    if report_file is not None:
        report_file.write_json(report)
    return report


def _check(
    server: str | None,
    serve_arguments: Sequence[str],
    clients: int,
    seconds: float,
    signature: str,
    k: int | None,
    rows: int,
    push_every: float | None,
) -> None:
    for argument, value in {"clients": clients, "rows": rows, "k": k}.items():
        if value is not None and value < 1:
            raise InputError(f"Argument `{argument}` must be at least 1. Received: {argument}={value}.")
    for argument, duration in {"seconds": seconds, "push_every": push_every}.items():
        if duration is not None and not duration > 0:
            raise InputError(f"Argument `{argument}` must be above 0. Received: {argument}={duration}.")
    if signature not in SIGNATURES:
        raise InputError(f"Argument `signature` must be one of {', '.join(SIGNATURES)}. Received: {signature!r}.")
    if k is not None and signature != "retrieve":
        raise InputError(f"Only the signature `retrieve` takes `k`. Received: k={k} and {signature!r}. Remove --k.")
    if server is not None and (push_every is not None or serve_arguments):
        raise InputError("--push-every and --serve-arg need the server that is started here. Remove --server.")


def _under_load(
    target: str,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    watch: MemoryWatch,
    pusher: VersionPusher,
) -> dict[str, Any]:
    with ExitStack() as during:

        def begin() -> None:
            during.enter_context(watch)
            during.enter_context(pusher)

        record = generate_load(target, requests, clients, seconds, begin)
    if pusher.error is not None:
        raise InputError(f"A version could not be pushed: {pusher.error}. Free disk space and measure again.")
    failed = sum(record.errors.values())
    return {
        "clients": clients,
        "seconds": round(record.seconds, 3),
        "requests": len(record.latencies) + failed,
        "failed": failed,
        "errors": dict(record.errors),
        "failures": record.failures,
        "requests_per_second": round(len(record.latencies) / record.seconds, 1),
        "latency_ms": record.percentiles(),
        "pushed": pusher.pushed,
    }


@contextmanager
def _copy_of(model: Path) -> Iterator[Path]:
    """Copy the newest version into a folder of the same name, which is deleted when the block ends."""
    number, newest = newest_version(model)
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        copy = Path(folder) / model.resolve().name
        shutil.copytree(newest, copy / str(number))
        yield copy


@contextmanager
def _server(model: Path, name: str, arguments: Sequence[str]) -> Iterator[ServerProcess]:
    if name != model.resolve().name:
        raise InputError(
            f"The server that is started here gives the model its folder's name, {model.resolve().name!r}. "
            f"Received: {name!r}. Remove --model-name, or give --server."
        )
    with ExitStack() as stack:
        with _status(f"starting laclrec-tf serve {model}"):
            started = stack.enter_context(ServerProcess(model, arguments))
        yield started


@contextmanager
def _status(title: str) -> Iterator[None]:
    console = terminal(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(title):
        yield


def _first_request(endpoint: ModelEndpoint, request: bytes) -> tuple[int, float]:
    """Connect, send one request, and return the version that answered and the milliseconds that the answer took."""
    with raw_channel(endpoint.target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CALL_SECONDS)
        except grpc.FutureTimeoutError:
            raise InputError(f"No server answers at {endpoint.target}. Give the HOST:PORT of a running one.") from None
        sent = time.perf_counter()
        try:
            answer = channel.unary_unary(PREDICT)(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise endpoint.refusal(error) from error
        milliseconds = round((time.perf_counter() - sent) * 1e3, 3)
    return PredictResponse.FromString(answer).model_spec.version.value, milliseconds


def load_requests(
    items: ServedItems, endpoint: ModelEndpoint, signature: str, rows: int, k: int, seed: int
) -> list[bytes]:
    """Make 256 requests with different histories.

    Args:
        items: Items to draw from, all with the same probability. Histories have 1 to `max_length` items.
        endpoint: The model that the requests are for.
        signature: `serving_default` or `retrieve`. A request to `retrieve` has `k` and no exclusions; its other inputs
            have their defaults.
        rows: Number of histories per request.
        k: Number of items to request from `retrieve`.
        seed: Seed of the histories; the same seed gives the same requests.

    Returns:
        Serialised `PredictRequest`s.
    """
    generator = np.random.default_rng(seed)
    requests = []
    for _ in range(DIFFERENT_REQUESTS):
        lengths = generator.integers(1, items.max_length, rows, endpoint=True)
        ids = [generator.integers(1, items.vocabulary.n_items, length, endpoint=True) for length in lengths]
        inputs = {"history": padded_batch([items.vocabulary.to_items(row.tolist()) for row in ids])}
        if signature == "retrieve":
            inputs |= {"k": np.array(k, np.int32), "exclude": padded_batch([[]])}
        requests.append(endpoint.predict_request(signature, inputs).SerializeToString())
    return requests


class VersionPusher:
    """Push a copy of the newest version at regular intervals while a block runs.

    Args:
        model: The model's folder. Use a copy, because versions are added and deleted.
        every: Seconds between two pushes. None pushes nothing.

    Attributes:
        pushed: `(seconds since the start, version)` of each push.
        error: The error that ended the pushing early, e.g. a full disk, or None.
    """

    def __init__(self, model: Path, every: float | None) -> None:
        self.model = model
        self.pushed: list[tuple[float, int]] = []
        self.error: OSError | None = None
        self._repetition = Repetition(self._push, every, name="version-pusher")

    def __enter__(self) -> VersionPusher:
        """Start; the first push follows after `every` seconds."""
        self._repetition.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the current push."""
        self._repetition.__exit__()

    def _push(self) -> bool:
        try:
            number = push_copy(self.model)
        except OSError as error:
            self.error = error
            return False
        self.pushed.append((self._repetition.elapsed(), number))
        return True


def push_copy(model: Path) -> int:
    """Copy the newest version to the next number, and delete all versions except the newest three.

    Unlike `laclrec-tf push`, this also takes models without a manifest and does not wait for the disk. A server never
    sees an incomplete version.

    Args:
        model: The model's folder.

    Returns:
        The new version's number.
    """
    _, newest = newest_version(model)
    copy = model / f"{COMING}{uuid.uuid4().hex}"
    shutil.copytree(newest, copy)
    new = rename_to_next_version(copy, model)
    remove_old_versions(model, KEPT_VERSIONS)
    return int(new.name)
