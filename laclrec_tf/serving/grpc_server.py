"""The gRPC API on a port: `grpc.aio` in an event loop of its own, with health and reflection beside it."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from laclrec_tf.errors import InputError
from laclrec_tf.serving.event_loop import EventLoop
from laclrec_tf.serving.request_limits import RequestLimits
from laclrec_tf.serving.request_metrics import Metrics
from laclrec_tf.serving.services import MODEL_SERVICE, PREDICTION_SERVICE, service_handlers
from laclrec_tf.serving.serving_api import ServingApi
from laclrec_tf.serving.tls import TlsFiles

SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE)  # "" is the server as a whole
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class GrpcServer:
    """Serves TensorFlow Serving's gRPC API, once; who was stopped does not listen again.

    Args:
        api: answers the requests.
        limits: of a message's size. Default: `RequestLimits()`.
        tls: certificates. Default: none, no TLS.
        metrics: where requests are counted. Default: nowhere.

    Example:
        >>> server = GrpcServer(api)  # doctest: +SKIP
        >>> server.listen("127.0.0.1", 0)  # doctest: +SKIP
        43211
        >>> server.say_serving()  # doctest: +SKIP
    """

    def __init__(
        self,
        api: ServingApi,
        *,
        limits: RequestLimits | None = None,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Start the event loop."""
        self.api = api
        self.limits = limits or RequestLimits()
        self.tls = tls
        self.metrics = metrics
        self._loop = EventLoop("grpc")
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    def listen(self, host: str, port: int) -> int:
        """Take requests; health checks hear NOT_SERVING.

        Args:
            host: address to listen on.
            port: 0 for any free one.

        Returns:
            The port.

        Raises:
            InputError: the port is in use, the address is another machine's, or a certificate cannot be used, see
                `TlsFiles.credentials`.
        """
        credentials = None if self.tls is None else self.tls.credentials()
        return self._loop.run(self._listen(host, port, credentials))

    def say_serving(self) -> None:
        """Let health checks hear SERVING."""
        self._loop.run(self._say(SERVING))

    def stop(self, grace: float) -> None:
        """Take no new requests and return when the running ones have ended.

        Args:
            grace: seconds that they may still take; then they are cancelled.
        """
        self._loop.run(self._stop(grace))

    def close(self) -> None:
        """End the event loop, when nothing that answers requests is left."""
        self._loop.close()

    async def _listen(self, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
        server = grpc.aio.server(
            options=[
                # Without this, Linux lets a second server listen on the same port.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self.limits.max_message_bytes),
                ("grpc.max_send_message_length", -1),
            ]
        )
        server.add_generic_rpc_handlers(service_handlers(self.api, self.metrics))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            unusable = "" if credentials is None else ", or a certificate cannot be used"
            raise InputError(
                f"Cannot listen on {address}: the port is in use, or the address is not this machine's{unusable}. "
                "Stop the other server or give another port (`--port 0` takes a free one)."
            ) from error
        await self._say(NOT_SERVING)
        await server.start()
        self._server = server
        return port

    async def _say(self, status: int) -> None:
        for service in SERVICES:
            await self._health.set(service, status)

    async def _stop(self, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace)
