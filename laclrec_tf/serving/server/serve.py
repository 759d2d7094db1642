"""Serve SavedModels with the embedded server."""

from __future__ import annotations

import gc
import logging
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


@dataclass(frozen=True)
class ServeSettings:
    """How a server listens, watches and stops; `ModelServer` says more of each.

    Args:
        host: address to listen on. Default: this machine only.
        port: gRPC port, 0 for any free one. Default: 8500, TensorFlow Serving's.
        poll_seconds: seconds between two looks for new versions, 0 for never. Default: 1.
        grace_seconds: seconds that running requests may take after SIGTERM. Default: 5.
        batching: how requests are run together. Default: `BatchingParameters()`.
        limits: what a request may ask for. Default: `RequestLimits()`.
        tls: certificates. Default: no TLS.
        rest_port: port of the REST API, 0 for any free one. Default: Vertex AI's, else none: there is no REST API.
        log_format: "text", what goes wrong, for a terminal; or "json", also the states of versions, one object a
            line. Default: "text".
        access_log: a line for each request. Default: False, for the server's own failures only.
        intra_op_threads: processors that one operation may use, 0 for all. Default: 1.
    """

    host: str = "127.0.0.1"
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
        """Check what would else be found only when the models are loaded."""
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
        config: or several models, with version policies and labels.
        settings: Default: `ServeSettings()`.

    Raises:
        InputError: not exactly one of `model` and `config` is given, there is no version to serve, or the port is
            in use.
    """
    if (model is None) == (config is None):
        raise InputError("Give either a model's folder or --model-config FILE.")
    settings = settings or ServeSettings()
    level = logging.INFO if settings.log_format == "json" else logging.WARNING
    set_up_log(sys.stderr, settings.log_format, level, settings.access_log)
    metrics = ServerMetrics()
    server = _server(model, config, settings, metrics)
    names = [entry.name for entry in server.config.model_config_list.config]
    with spinner(f"loading {model if config is None else ', '.join(names)}"):
        bound = server.start()
    try:
        rest = _rest_server(server, names, settings, metrics)
        faces = [f"{server.host}:{bound} (gRPC, TensorFlow Serving's protocol)"]
        if rest is not None:
            faces.append(f"{rest.host}:{rest.start()} (REST)")
    except BaseException:
        server.stop(grace=0).wait()
        raise
    # What is there now stays: looking through it again and again would stop requests for a tenth of a second.
    gc.collect()
    gc.freeze()
    # Who comes back from the model waits that long at most for the interpreter; by default it would be 5 ms.
    sys.setswitchinterval(1e-4)

    told_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        told_to_stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    terminal(stderr=True).print(f"serving {', '.join(names)} on {' and '.join(faces)}; Ctrl-C stops")
    told_to_stop.wait()
    end = time.monotonic() + settings.grace_seconds
    if rest is not None:
        rest.stop(settings.grace_seconds)  # first: it would tell its callers that there is no such model
    server.stop(max(0.0, end - time.monotonic())).wait()


def tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """Make TLS of the flags --tls-cert, --tls-key and --client-ca; see `TlsFiles.given`."""
    return TlsFiles.given(certificate, key, client_ca)


def limits_of(assignments: Sequence[str]) -> RequestLimits:
    """Make limits of the flag --limit, which may be repeated; the last of one name holds.

    Args:
        assignments: `NAME=N` each, with a name of `RequestLimits`.

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


def _server(
    model: str | Path | None, config: ModelServerConfig | None, settings: ServeSettings, metrics: ServerMetrics
) -> ModelServer:
    folder = None if model is None else Path(model)
    return ModelServer(
        None if folder is None else folder.resolve().name,
        folder,
        settings.host,
        settings.port,
        config=config,
        poll_seconds=settings.poll_seconds,
        batching=settings.batching,
        limits=settings.limits,
        tls=settings.tls,
        metrics=metrics,
        intra_op_threads=settings.intra_op_threads,
    )


def _rest_server(
    server: ModelServer, names: list[str], settings: ServeSettings, metrics: ServerMetrics
) -> RestServer | None:
    vertex = read_vertex_environment()
    port = vertex.port if settings.rest_port is None else settings.rest_port
    if port is None or server.api is None:
        return None
    routes = {"health_route": vertex.health_route, "predict_route": vertex.predict_route}
    tls = settings.tls
    return RestServer(
        server.api,
        settings.host,
        port,
        metrics=metrics,
        certificate=None if tls is None else tls.certificate,
        key=None if tls is None else tls.key,
        client_ca=None if tls is None else tls.client_ca,
        max_body_bytes=server.limits.max_message_bytes,
        default_model=names[0] if len(names) == 1 else None,
        **{name: route for name, route in routes.items() if route is not None},
    )
