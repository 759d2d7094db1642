"""The REST API on a port: uvicorn in a thread."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.serving.rest.app import Api, rest_app
from laclrec_tf.serving.server.metrics import ServerMetrics

BACKLOG = 2048


@dataclass(frozen=True)
class VertexEnvironment:
    """The port and the routes that Vertex AI will use; `None` where it says nothing.

    Args:
        port: `AIP_HTTP_PORT`.
        health_route: `AIP_HEALTH_ROUTE`, asked with GET.
        predict_route: `AIP_PREDICT_ROUTE`, asked with POST.

    Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    """

    port: int | None = None
    health_route: str | None = None
    predict_route: str | None = None


def read_vertex_environment(environment: Mapping[str, str] = os.environ) -> VertexEnvironment:
    """Read the variables.

    Args:
        environment: the variables by name. Default: this process's.

    Returns:
        What they say. A variable that is empty says nothing.

    Raises:
        InputError: a port that is none, or a route that does not begin with a slash.

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
        raise InputError(f"{name} must begin with a slash. Received: {route}.")
    return route


class RestServer:
    """Serves TensorFlow Serving's REST API.

    Args:
        api: answers the requests, as it does for gRPC.
        host: address to listen on. Default: "127.0.0.1", this machine only.
        port: 0 for any free one. Default: 8501, TensorFlow Serving's.
        metrics: counts the requests. Default: nothing is counted.
        certificate: PEM file with the server's certificate chain; then only TLS is spoken. Default: no TLS.
        key: PEM file with the certificate's key. Default: none.
        client_ca: PEM file with the authorities that sign clients' certificates; then a client must have one.
            Default: none.
        app_settings: `timeout`, `max_body_bytes`, `default_model`, `health_route`, `predict_route` of `rest_app`.

    Attributes:
        port: after `start`, the port that is listened on.

    Raises:
        InputError: `port` is out of its range, or of certificate and key only one is given, or neither beside
            `client_ca`.

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
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        client_ca: str | Path | None = None,
        **app_settings: Any,
    ) -> None:
        """Check the settings; `start` does the work."""
        if not 0 <= port <= 65535:
            raise InputError(f"Argument `port` must be between 0 and 65535. Received: port={port}.")
        if (certificate is None) != (key is None) or (client_ca is not None and certificate is None):
            raise InputError(
                "TLS needs both `certificate` and `key`, and `client_ca` needs them too. "
                f"Received: certificate={certificate}, key={key}, client_ca={client_ca}."
            )
        self.host = host
        self.port = port
        self.certificate, self.key, self.client_ca = certificate, key, client_ca
        self.app = rest_app(api, metrics=metrics, **app_settings)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen and answer. A server that runs already is left as it is.

        Returns:
            The port.

        Raises:
            InputError: the address cannot be listened on, or a certificate or key cannot be read.
        """
        if self._server is None:
            server = _UvicornServer(self._config())
            listener = self._listen()
            self.port = listener.getsockname()[1]
            self._thread = threading.Thread(target=server.run, args=([listener],), name="rest-server", daemon=True)
            self._thread.start()
            server.up.wait()
            if not server.started:
                raise RuntimeError("The REST server ended at once; the log says why.")
            self._server = server
        return self.port

    def stop(self, grace: float = 5.0) -> None:
        """Take no new requests and return when the running ones have ended.

        Args:
            grace: seconds that they may still take; then their connections are closed. Default: 5.
        """
        if self._server is None or self._thread is None:
            return
        server, self._server = self._server, None
        server.config.timeout_graceful_shutdown = grace  # type: ignore[assignment] # any number of seconds will do
        server.should_exit = True
        # A prediction that runs cannot be interrupted; its thread ends by the request's own timeout.
        self._thread.join(grace + 1.0)

    def __enter__(self) -> RestServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise InputError(
                f"Cannot listen on {self.host}, port {self.port}: {reason_of(error)}. "
                "Stop the other server or give another port (0 takes a free one)."
            ) from error
        # An answer's head and body are written one after the other; held back, the body would wait 40 ms for the
        # caller's acknowledgement. Connections inherit the option. asyncio sets it only on sockets it made itself.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    def _config(self) -> uvicorn.Config:
        config = uvicorn.Config(
            self.app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,  # the process's log is set up elsewhere
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            ssl_certfile=self.certificate,
            ssl_keyfile=self.key,
            ssl_ca_certs=self.client_ca,
            ssl_cert_reqs=ssl.CERT_NONE if self.client_ca is None else ssl.CERT_REQUIRED,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one too
            raise InputError(
                f"Cannot use the certificate {self.certificate}, the key {self.key} and the client authorities "
                f"{self.client_ca}: {reason_of(error)}. Give PEM files, and the key that belongs to the certificate."
            ) from error
        return config


class _UvicornServer(uvicorn.Server):
    """uvicorn's server, which says when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Prepare."""
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        try:
            await super().startup(sockets)
        finally:
            self.up.set()
