"""Closed-loop load from separate processes: each client sends its next request when it has the answer to the last."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.processes import end_child, start_child
from laclrec_tf.serving.client.client import RetrievalClient
from laclrec_tf.serving.client.wire import PREDICT

START_SECONDS = 300.0
STOP_SECONDS = 30.0
CALL_SECONDS = 30.0
KEPT_FAILURES = 20
CLIENTS_PER_PROCESS = 64
CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # channels of one process share a connection otherwise
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
]


class ServerProcess:
    """Run `laclrec-tf serve MODEL` on a free port of this machine while a block runs.

    Args:
        model: The model's folder. The model gets the folder's name.
        arguments: Further arguments of `serve`. Default: none.

    Attributes:
        target: `HOST:PORT` of the started server.

    Example:
        >>> with ServerProcess(Path("saved_models/shop")) as server:  # doctest: +SKIP
        ...     print(server.target, server.pid)
    """

    def __init__(self, model: Path, arguments: Sequence[str] = ()) -> None:
        self.model = model
        self.arguments = list(arguments)
        self.target = ""

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process, None while it runs."""
        return self._process.poll()

    def __enter__(self) -> ServerProcess:
        """Start the server and wait until a version is available.

        Raises:
            InputError: The server ended, or is not ready after five minutes.
        """
        port = _free_port()
        self.target = f"127.0.0.1:{port}"
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "laclrec_tf.cli.main", "serve", str(self.model), "--port", str(port)]
        # Nobody reads a pipe while the load runs, and a full pipe would block the server. A file never does.
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*command, *self.arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_until_available()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server as Ctrl-C does, and kill it if it does not end."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def last_line(self) -> str:
        """Return the last line that the server wrote."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"

    def _wait_until_available(self) -> None:
        end = time.monotonic() + START_SECONDS
        with RetrievalClient(self.target, self.model.resolve().name, timeout=5, retries=0) as client:
            while time.monotonic() < end:
                if self.exit_code is not None:
                    raise InputError(f"The server did not start: {self.last_line().removeprefix('laclrec-tf: ')}")
                try:
                    if "AVAILABLE" in client.status().values():
                        return
                except InputError:  # the server does not listen yet
                    pass
                time.sleep(0.1)
        raise InputError(f"The server is not ready after {START_SECONDS:.0f} s. Its last line: {self.last_line()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class LoadRecord:
    """Latencies and errors of requests.

    Args:
        latencies: Seconds of each answered request. Default: none.
        errors: Number of failed requests by status. Default: none.
        failures: `(seconds since the start, status, details)` of the first failed requests. Default: none.
        seconds: Seconds from the start to the last answer. Default: 0.

    Example:
        >>> LoadRecord([0.002, 0.004]).percentiles()["p50"]
        3.0
    """

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: LoadRecord) -> None:
        """Add another client's record to this one."""
        self.latencies += other.latencies
        self.errors += other.errors
        self.failures = sorted(self.failures + other.failures)[:KEPT_FAILURES]
        self.seconds = max(self.seconds, other.seconds)

    def percentiles(self) -> dict[str, float]:
        """Return p50, p90, p99 and max of the latencies in milliseconds, or nothing if no request was answered."""
        if not self.latencies:
            return {}
        p50, p90, p99, longest = np.percentile(np.array(self.latencies) * 1e3, [50, 90, 99, 100]).tolist()
        return {"p50": round(p50, 3), "p90": round(p90, 3), "p99": round(p99, 3), "max": round(longest, 3)}


def raw_channel(target: str) -> grpc.Channel:
    """Open a connection that is not shared; it sends and receives bytes as they are."""
    return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)


def generate_load(
    target: str,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    on_start: Callable[[], None] = lambda: None,
    connect_seconds: float = CALL_SECONDS,
) -> LoadRecord:
    """Send requests for some seconds.

    Args:
        target: `HOST:PORT` of the server.
        requests: Serialised `PredictRequest`s. Each client sends all of them in turn, starting at a different one.
        clients: Number of requests in flight at any time. Each process has 64 clients, or more if there are fewer
            processors than processes.
        seconds: Duration in seconds.
        on_start: Function that is called when all clients are connected, just before the first request. Default: none.
        connect_seconds: Seconds to wait for a connection. Default: 30.

    Returns:
        Latencies and errors of all requests.

    Raises:
        InputError: A load process ended early, or the server cannot be reached.
    """
    context = multiprocessing.get_context("spawn")
    n_processes = min(math.ceil(clients / CLIENTS_PER_PROCESS), os.cpu_count() or 1)
    shares = [len(share) for share in np.array_split(range(clients), n_processes)]
    connections: list[Connection] = []
    processes = []
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_load_process, args=(theirs, target, share, seconds, connect_seconds), daemon=True
            )
            processes.append(process)
            start_child(process)
            theirs.close()
            connections.append(ours)
        for number, connection in enumerate(connections):
            first = number * len(requests) // len(connections)
            with suppress(ConnectionError):  # it ended early; `_received` reports that
                connection.send([*requests[first:], *requests[:first]])
        for connection in connections:
            _received(connection)  # connected
        on_start()
        for connection in connections:
            connection.send("go")
        total = LoadRecord()
        for connection in connections:
            total.add(_received(connection))
        return total
    finally:
        for process in processes:
            end_child(process)


def _received(connection: Connection) -> LoadRecord:
    try:
        answer = connection.recv()
    except (EOFError, ConnectionError):
        raise InputError("A load process ended early. Give it more memory, or use fewer --clients.") from None
    if isinstance(answer, str):
        raise InputError(answer)
    return answer


def _load_process(
    connection: Connection,
    target: str,
    clients: int,
    seconds: float,
    connect_seconds: float,
) -> None:
    requests = connection.recv()
    asyncio.run(_load(connection, target, requests, clients, seconds, connect_seconds))


async def _load(
    connection: Connection,
    target: str,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    connect_seconds: float,
) -> None:
    # One event loop serves all clients: threads would use more processor time than the server.
    channels = [grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) for _ in range(clients)]
    try:
        await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in channels)), connect_seconds)
    except TimeoutError:
        connection.send(f"No server answers at {target}. Give the HOST:PORT of a running one.")
        return
    connection.send(LoadRecord())
    connection.recv()
    starts = [number * len(requests) // clients for number in range(clients)]
    runs = (_client(channel, requests, start, seconds) for channel, start in zip(channels, starts, strict=True))
    total = LoadRecord()
    for record in await asyncio.gather(*runs):
        total.add(record)
    await asyncio.gather(*(channel.close() for channel in channels))
    connection.send(total)


async def _client(channel: grpc.aio.Channel, requests: Sequence[bytes], start: int, seconds: float) -> LoadRecord:
    record = LoadRecord()
    send = channel.unary_unary(PREDICT)  # no serialisers: bytes in, bytes out
    clock = time.perf_counter
    began, number = clock(), start
    while (sent := clock()) - began < seconds:
        try:
            await send(requests[number % len(requests)], timeout=CALL_SECONDS)
            record.latencies.append(clock() - sent)
        except grpc.aio.AioRpcError as error:
            record.errors[error.code().name] += 1
            if len(record.failures) < KEPT_FAILURES:
                record.failures.append((round(clock() - began, 3), error.code().name, str(error.details())))
        number += 1
    record.seconds = clock() - began
    return record
