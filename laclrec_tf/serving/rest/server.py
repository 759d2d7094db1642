"""The REST API on a port, served by uvicorn in a thread."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.serving.rest.app import Api, rest_app
from laclrec_tf.serving.server.metrics import ServerMetrics
from laclrec_tf.serving.tls import TlsFiles

BACKLOG = 2048
# Max number of open connections, and max share of the process's descriptors that they take. New ones beyond it are
# closed, so that descriptors are left for gRPC and for files.
MAX_CONNECTIONS, MAX_SHARE = 1024, 0.5
# Max seconds until the head of a request has arrived, from the start of the connection or the head's first byte. With
# TLS also max seconds of the handshake.
HEAD_SECONDS = 20.0
# Max seconds without progress of an answer that the caller does not read.
UNREAD_SECONDS = 20.0
# Min seconds between two lines of the log about the same trouble with connections.
LOGGED_SECONDS = 30.0
_LOG = logging.getLogger(__name__)


class RestServer:
    """Serves TensorFlow Serving's REST API.

    Args:
        api: answers the requests, as it does for gRPC.
        host: address to listen on. Default: "127.0.0.1", this machine only.
        port: 0 for any free one. Default: 8501, TensorFlow Serving's.
        metrics: counts the requests. Default: requests are not counted.
        tls: certificates. Default: no TLS.
        app_settings: `timeout`, `max_body_bytes`, `default_model`, `health_route`, `predict_route` of `rest_app`.

    Attributes:
        port: after `start`, the port that the server listens on.

    Raises:
        InputError: `port` is out of its range.

    Example:
        >>> with RestServer(api, port=0, default_model="shop") as server:  # doctest: +SKIP
        ...     print(f"http://127.0.0.1:{server.port}/v1/models/shop")
    """

    def __init__(
        self,
        api: Api,
        host: str = "127.0.0.1",
        port: int = 8501,
        *,
        metrics: ServerMetrics | None = None,
        tls: TlsFiles | None = None,
        **app_settings: Any,
    ) -> None:
        if not 0 <= port <= 65535:
            raise InputError(f"Argument `port` must be between 0 and 65535. Received: port={port}.")
        self.host = host
        self.port = port
        self.tls = tls
        self.app = rest_app(api, metrics=metrics, **app_settings)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen and answer. Starting a running server does nothing.

        Returns:
            The port.

        Raises:
            InputError: the address cannot be used, or a certificate or key cannot be read.
        """
        if self._server is None:
            server = _UvicornServer(self._config())
            listener = self._listen()
            self.port = listener.getsockname()[1]
            self._thread = threading.Thread(target=server.run, args=([listener],), name="rest-server", daemon=True)
            self._thread.start()
            server.up.wait()
            if not server.started:
                raise RuntimeError("The REST server ended immediately; see the log.")
            self._server = server
        return self.port

    def stop(self, grace: float = 5.0) -> None:
        """Refuse new requests and return when the running ones have ended.

        Args:
            grace: max seconds for the running requests; then their connections are closed. Default: 5.
        """
        if self._server is None or self._thread is None:
            return
        server, self._server = self._server, None
        server.config.timeout_graceful_shutdown = grace  # type: ignore[assignment] # any number of seconds works
        server.should_exit = True
        # A running prediction cannot be interrupted; its thread ends with the timeout of its request.
        self._thread.join(grace + 1.0)

    def __enter__(self) -> RestServer:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            created = socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)
            listener = _BoundedListener(fileno=created.detach())
        except OSError as error:
            raise InputError(
                f"Cannot listen on {self.host}, port {self.port}: {reason_of(error)}. "
                "Stop the other server or give another port (0 takes a free one)."
            ) from error
        # The head and the body of an answer are two writes; with Nagle's algorithm the body would wait 40 ms for the
        # caller's acknowledgement. Connections inherit the options. asyncio sets it only on its own sockets.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; it closes connections whose data the caller does not take
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREAD_SECONDS))
        return listener

    def _config(self) -> uvicorn.Config:
        tls = self.tls
        mutual = tls is not None and tls.client_ca is not None
        config = uvicorn.Config(
            self.app,
            http=_BoundedConnection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,  # the process sets up its log itself
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
            ssl_ca_certs=None if tls is None else tls.client_ca,
            ssl_cert_reqs=ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is an OSError
            assert tls is not None  # else no file is read
            raise InputError(
                f"Cannot use the certificate {tls.certificate}, the key {tls.key} and the client authorities "
                f"{tls.client_ca}: {reason_of(error)}. Give PEM files, and the key that belongs to the certificate."
            ) from error
        return config


class _UvicornServer(uvicorn.Server):
    """uvicorn's server, with an event that is set when it accepts connections, or has failed to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_trouble)
        if self.config.ssl is not None:  # uvicorn has no setting for it
            limited = partial(loop.create_server, ssl_handshake_timeout=HEAD_SECONDS)
            loop.create_server = limited  # type: ignore[method-assign]
        try:
            await super().startup(sockets)
        finally:
            self.up.set()


class _BoundedListener(socket.socket):
    """A listening socket that closes new connections when too many are open, with TLS also before their handshake."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = min(MAX_CONNECTIONS, int(descriptors * MAX_SHARE))
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection that may stay open."""
        while True:
            connection, address = super().accept()
            if len(self._open) < self.limit or sum(each.fileno() >= 0 for each in self._open) < self.limit:
                self._open.add(connection)
                return connection, address
            connection.close()
            _log_seldom(f"{self.limit} REST connections are open, so new ones are closed.")


class _BoundedConnection(H11Protocol):
    """uvicorn's connection, closed when no request arrives in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_deadline()  # a request is running; other deadlines limit it
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _log_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log that no connection can be accepted, at most one line in a while: asyncio reports each of thousands."""
    error = context.get("exception")
    if isinstance(error, OSError) and "accept" in context.get("message", ""):
        _log_seldom(f"Cannot accept REST connections: {reason_of(error)}. Raise the limit of open files.")
    else:
        loop.default_exception_handler(context)


_logged: dict[str, float] = {}


def _log_seldom(message: str) -> None:
    now = time.monotonic()
    if now - _logged.get(message, -LOGGED_SECONDS) >= LOGGED_SECONDS:
        _logged[message] = now
        _LOG.warning(message)


@dataclass(frozen=True)
class VertexEnvironment:
    """The port and the routes that Vertex AI uses; None for those that are not set.

    Args:
        port: port of `AIP_HTTP_PORT`. Default: None.
        health_route: path of `AIP_HEALTH_ROUTE`, for GET requests. Default: None.
        predict_route: path of `AIP_PREDICT_ROUTE`, for POST requests. Default: None.

    Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    """

    port: int | None = None
    health_route: str | None = None
    predict_route: str | None = None


def read_vertex_environment(environment: Mapping[str, str] = os.environ) -> VertexEnvironment:
    """Read Vertex AI's environment variables.

    Args:
        environment: the variables by name. Default: those of this process.

    Returns:
        The port and the routes. An empty variable counts as not set.

    Raises:
        InputError: the port is not a port, or a route does not start with a slash.

    Example:
        >>> read_vertex_environment({"AIP_HTTP_PORT": "8080", "AIP_HEALTH_ROUTE": "/ping"})
        VertexEnvironment(port=8080, health_route='/ping', predict_route=None)
    """
    port = environment.get("AIP_HTTP_PORT") or None
    if port is not None and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InputError(f"AIP_HTTP_PORT must be a port from 0 to 65535. Received: {port}.")
    return VertexEnvironment(
        port=None if port is None else int(port),
        health_route=_route("AIP_HEALTH_ROUTE", environment),
        predict_route=_route("AIP_PREDICT_ROUTE", environment),
    )


def _route(name: str, environment: Mapping[str, str]) -> str | None:
    route = environment.get(name) or None
    if route is not None and not route.startswith("/"):
        raise InputError(f"{name} must start with a slash. Received: {route}.")
    return route
