"""The `serve` command: the embedded server over gRPC and REST, until a signal stops it."""

from __future__ import annotations

import gc
import logging
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import spinner, terminal
from laclrec_tf.serving.rest.server import RestServer, read_vertex_environment
from laclrec_tf.serving.server.batching import BatchingParameters
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.log import LogFormat, set_up_log
from laclrec_tf.serving.server.metrics import ServerMetrics
from laclrec_tf.serving.server.server import ModelServer
from laclrec_tf.serving.tls import TlsFiles

LOOPBACK, ALL_ADDRESSES = "127.0.0.1", "0.0.0.0"


@dataclass(frozen=True)
class ServeSettings:
    """How a server listens, checks for versions and stops; `ModelServer` documents the shared settings.

    Args:
        host: address to listen on. Default: None, "127.0.0.1", this machine only; but REST on the port of
            `AIP_HTTP_PORT` listens on all addresses, "0.0.0.0", because Vertex AI calls it from outside the container.
        port: gRPC port, 0 for any free one. Default: 8500, TensorFlow Serving's.
        poll_seconds: seconds between two checks for versions, 0 for none. Default: 1.
        grace_seconds: max seconds for running requests after SIGTERM. Default: 5.
        batching: how requests are run together. Default: `BatchingParameters()`.
        limits: limits of requests. Default: `RequestLimits()`.
        tls: certificates. Default: no TLS.
        rest_port: port of the REST API, 0 for any free one. Default: `AIP_HTTP_PORT` of Vertex AI, else no REST API.
        log_format: "text" for a terminal, with warnings and errors; or "json" for a log collector, one object a line,
            with the states of versions as well. Default: "text".
        access_log: whether each request has a line in the log. Default: False, only requests that failed by an error
            of the server.
        intra_op_threads: processors that one operation may use, 0 for all. Default: 1.
    """

    host: str | None = None
    port: int = 8500
    poll_seconds: float = 1.0
    grace_seconds: float = 5.0
    batching: BatchingParameters | None = None
    limits: RequestLimits | None = None
    tls: TlsFiles | None = None
    rest_port: int | None = None
    log_format: LogFormat = "text"
    access_log: bool = False
    intra_op_threads: int = 1

    def __post_init__(self) -> None:
        """Check the settings that otherwise fail only after the models are loaded."""
        if not self.grace_seconds >= 0:
            raise InputError(
                f"Argument `grace_seconds` must be at least 0. Received: grace_seconds={self.grace_seconds}."
            )
        if self.rest_port is not None and not 0 <= self.rest_port <= 65535:
            raise InputError(f"Argument `rest_port` must be between 0 and 65535. Received: rest_port={self.rest_port}.")


def serve(
    model: str | Path | None = None,
    *,
    config: ModelServerConfig | None = None,
    settings: ServeSettings | None = None,
) -> None:
    """Serve the newest version in `model`, or the models of a configuration, until SIGINT or SIGTERM.

    Args:
        model: the model's folder, usually `saved_models/NAME`; its name is the model's name.
        config: several models with version policies and labels, in place of `model`.
        settings: settings of the server. Default: `ServeSettings()`.

    Raises:
        InputError: not exactly one of `model` and `config` is given, there is no version to serve, or the port is
            in use.
    """
    if (model is None) == (config is None):
        raise InputError("Give either a model's folder or --model-config FILE.")
    settings = settings or ServeSettings()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # each connection takes a descriptor, and many systems allow 1,024 unless a program requests more
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    level = logging.INFO if settings.log_format == "json" else logging.WARNING
    set_up_log(sys.stderr, settings.log_format, level, settings.access_log)
    metrics = ServerMetrics()
    folder = None if model is None else Path(model)
    server = ModelServer(
        None if folder is None else folder.resolve().name,
        folder,
        settings.host or LOOPBACK,
        settings.port,
        config=config,
        poll_seconds=settings.poll_seconds,
        batching=settings.batching,
        limits=settings.limits,
        tls=settings.tls,
        metrics=metrics,
        intra_op_threads=settings.intra_op_threads,
    )
    names = [entry.name for entry in server.config.model_config_list.config]
    with spinner(f"loading {model if config is None else ', '.join(names)}"):
        bound = server.start()
    try:
        rest = _rest_server(server, names, settings, metrics)
        addresses = [f"{server.host}:{bound} (gRPC, TensorFlow Serving's protocol)"]
        if rest is not None:
            addresses.append(f"{rest.host}:{rest.start()} (REST)")
    except BaseException:
        server.stop(grace=0).wait()
        raise
    # The garbage collector skips what exists now: a full collection would stop requests for a tenth of a second.
    gc.collect()
    gc.freeze()
    # A thread that returns from the model waits at most this long for the interpreter; the default is 5 ms.
    sys.setswitchinterval(1e-4)

    stop_requested = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stop_requested.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    terminal(stderr=True).print(f"serving {', '.join(names)} on {' and '.join(addresses)}; Ctrl-C stops")
    stop_requested.wait()
    _stop(server, rest, settings.grace_seconds)


def limits_of(assignments: Sequence[str]) -> RequestLimits:
    """Read the limits of the option --limit, which may be repeated. The last value of a name counts.

    Args:
        assignments: strings `NAME=N`, with a name of `RequestLimits`.

    Raises:
        InputError: an entry is not `NAME=N`, the name is unknown, or the number is out of its range.

    Example:
        >>> limits_of(["max_k=100", "max_concurrent_requests=64"]).max_k
        100
    """
    names = [field.name for field in fields(RequestLimits)]
    limits = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            limits[name] = int(value)
        except ValueError:
            raise InputError(f"--limit takes NAME=N with a whole number N. Received: {assignment!r}.") from None
        if name not in names:
            raise InputError(f"--limit takes one of {', '.join(names)}. Received: {name!r}.")
    return RequestLimits(**limits)


def _stop(server: ModelServer, rest: RestServer | None, grace: float) -> None:
    """Answer the requests that have arrived over both protocols, and then end the models."""
    end = time.monotonic() + grace
    # Side by side: each protocol has the whole grace, and a slow caller of one takes nothing from the other. The models
    # stay until both have stopped, else a running request would be told that there is no such model.
    draining = threading.Thread(target=server.drain, args=(grace,), name="grpc-drain")
    draining.start()
    if rest is not None:
        rest.stop(grace)
    draining.join()
    server.stop(max(0.0, end - time.monotonic())).wait()


def _rest_server(
    server: ModelServer, names: list[str], settings: ServeSettings, metrics: ServerMetrics
) -> RestServer | None:
    vertex = read_vertex_environment()
    port = vertex.port if settings.rest_port is None else settings.rest_port
    if port is None or server.api is None:
        return None
    routes = {"health_route": vertex.health_route, "predict_route": vertex.predict_route}
    is_vertex = settings.rest_port is None
    return RestServer(
        server.api,
        settings.host or (ALL_ADDRESSES if is_vertex else LOOPBACK),
        port,
        metrics=metrics,
        tls=settings.tls,
        max_body_bytes=server.limits.max_message_bytes,
        default_model=names[0] if len(names) == 1 else None,
        **{name: route for name, route in routes.items() if route is not None},
    )
