"""Measure a server under load: answers per second, latencies, memory, and versions pushed during the load."""

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


def load_requests(
    items: ServedItems, endpoint: ModelEndpoint, signature: str, rows: int, k: int, seed: int
) -> list[bytes]:
    """Make requests that differ in their histories.

    Args:
        items: what histories are drawn from: lengths from 1 to `max_length`, every item as likely.
        endpoint: the model asked.
        signature: `serving_default` or `retrieve`. The latter gets `k` and no exclusions; what else it takes is
            left to its defaults.
        rows: histories in each request.
        k: for `retrieve`.
        seed: the same seed gives the same requests.

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


def push_copy(model: Path) -> int:
    """Put a copy of the newest version under the next number, and take all but the newest three away.

    Unlike a push it takes models without a manifest, and waits for no disk; a server never sees half a version.

    Args:
        model: the model's folder.

    Returns:
        The new version's number.
    """
    _, newest = newest_version(model)
    copy = model / f"{COMING}{uuid.uuid4().hex}"
    shutil.copytree(newest, copy)
    new = rename_to_next_version(copy, model)
    remove_old_versions(model, KEPT_VERSIONS)
    return int(new.name)


class VersionPusher:
    """Pushes a copy of the newest version every so often, until it is told to stop.

    Args:
        model: the model's folder, not the user's own: versions come and go in it.
        every: seconds between two pushes; None pushes nothing.

    Attributes:
        pushed: `(seconds since the start, version)` of each push.
        error: what ended the pushing early, such as a full disk; None when nothing did.
    """

    def __init__(self, model: Path, every: float | None) -> None:
        self.model = model
        self.pushed: list[tuple[float, int]] = []
        self.error: OSError | None = None
        self._repetition = Repetition(self._push, every, name="version-pusher")

    def __enter__(self) -> VersionPusher:
        """Begin; the first push is `every` seconds from now."""
        self._repetition.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after the push that is under way."""
        self._repetition.__exit__()

    def _push(self) -> bool:
        try:
            number = push_copy(self.model)
        except OSError as error:
            self.error = error
            return False
        self.pushed.append((self._repetition.elapsed(), number))
        return True


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
    """Ask a server as fast as it answers, from processes of their own.

    Args:
        model: the model's folder, `saved_models/NAME`, from which histories are drawn.
        server: `HOST:PORT` of a running server. Default: the embedded one is started for the test, and stopped.
        model_name: the model's name on the server. Default: the folder's name.
        serve_arguments: further arguments of `laclrec-tf serve`, for the server that is started.
        clients: how many requests are under way at any time. Default: 4.
        seconds: how long. Default: 10.
        signature: `serving_default` or `retrieve`. Default: `serving_default`.
        k: for `retrieve`. Default: 10.
        rows: histories in each request. Default: 1.
        push_every: push a copy of the newest version every so many seconds, into a copy of the folder.
            Default: nothing is pushed.
        seed: Seed of the histories. Default: 0.
        json_out: also write the report to this file.

    Returns:
        `model_version` and the arguments; `requests`, `failed` and `errors` by status (numbers of requests),
        `requests_per_second`, `latency_ms` and `pushed`. For a server that was started here also `first_request_ms`
        and `memory_mb`.

    Raises:
        InputError: an argument is out of its range, the server does not start or answer, or it ended under the
            load.
    """
    model, name = Path(model), model_name or Path(model).resolve().name
    _check(server, serve_arguments, clients, seconds, signature, k, rows, push_every)
    report_file = None if json_out is None else ReportFile(json_out)
    items = ServedItems.read(model)
    with ExitStack() as stack:
        if push_every is not None:
            model = stack.enter_context(_copy_of(model))
        started = stack.enter_context(_server(model, name, serve_arguments)) if server is None else None
        target = started.target if started else str(server)
        endpoint = ModelEndpoint(target, name)
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
        watch = MemoryWatch(started.pid if started else None)
        pusher = VersionPusher(model, push_every)
        with _shown(f"{clients} clients for {seconds:g} s"):
            report |= _under_load(target, requests, clients, seconds, watch, pusher)
        if started and started.exit_code is not None:
            raise InputError(f"The server ended under the load, with code {started.exit_code}: {started.last_line()}")
        report["model_version_after"], _ = _first_request(endpoint, requests[0])
        if started:
            before, after = watch.notes[0][1] if watch.notes else None, resident_megabytes(started.pid)
            report["memory_mb"] = {"before": before, "after": after, "over_time": watch.notes}
    if report_file is not None:
        report_file.write_json(report)
    return report


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
        raise InputError(f"A version could not be pushed: {pusher.error}. Free the disk and measure again.")
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
    at_least_one = {"clients": clients, "rows": rows, "k": k}
    for argument, value in at_least_one.items():
        if value is not None and value < 1:
            raise InputError(f"Argument `{argument}` must be at least 1. Received: {argument}={value}.")
    for argument, duration in {"seconds": seconds, "push_every": push_every}.items():
        if duration is not None and not duration > 0:
            raise InputError(f"Argument `{argument}` must be above 0. Received: {argument}={duration}.")
    if signature not in SIGNATURES:
        raise InputError(f"Argument `signature` must be one of {', '.join(SIGNATURES)}. Received: {signature!r}.")
    if k is not None and signature != "retrieve":
        raise InputError("Only --signature retrieve takes a `k`. Leave --k out, or ask for `retrieve`.")
    if server is not None and (push_every is not None or serve_arguments):
        raise InputError("--push-every and --serve-arg are for the server that is started here. Leave --server out.")


@contextmanager
def _copy_of(model: Path) -> Iterator[Path]:
    """Copy the newest version into a folder of the same name, which goes when the block ends."""
    number, newest = newest_version(model)
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        copy = Path(folder) / model.resolve().name
        shutil.copytree(newest, copy / str(number))
        yield copy


@contextmanager
def _server(model: Path, name: str, arguments: Sequence[str]) -> Iterator[ServerProcess]:
    if name != model.resolve().name:
        raise InputError(
            f"The server that is started here names the model as its folder, {model.resolve().name!r}. "
            "Leave --model-name out, or give --server."
        )
    with ExitStack() as stack:
        with _shown(f"starting laclrec-tf serve {model}"):
            started = stack.enter_context(ServerProcess(model, arguments))
        yield started


def _first_request(endpoint: ModelEndpoint, request: bytes) -> tuple[int, float]:
    """Send one request over a connection that is there, and return who answered and in how many milliseconds."""
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


@contextmanager
def _shown(title: str) -> Iterator[None]:
    console = terminal(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(title):
        yield
