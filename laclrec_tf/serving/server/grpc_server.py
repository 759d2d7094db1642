"""TensorFlow Serving's two gRPC services on a port, with health checks and reflection."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.api import ServingApi
from laclrec_tf.serving.server.calls import MODEL_SERVICE, PREDICTION_SERVICE, CallHandler
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.tls import TlsFiles

SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE)  # "" is the server as a whole
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# gRPC's core ends calls beyond its own limits as CANCELLED, unseen by this package's limits, metrics and log. A call
# that waits there costs little, because its message is not read yet.
NO_CORE_LIMITS = [
    ("grpc.server.max_pending_requests", 2**31 - 1),
    ("grpc.server.max_pending_requests_hard_limit", 2**31 - 1),
    ("grpc.server_max_unrequested_time_in_server", 86_400),
]
QUIET_SECONDS = 0.02
MAX_QUIET_SECONDS = 0.5
T = TypeVar("T")


class GrpcServer:
    """Serves TensorFlow Serving's gRPC API. After `stop` it cannot listen again.

    Args:
        api: answers the requests.
        limits: limit of a message's size. Default: `RequestLimits()`.
        tls: certificates. Default: no TLS.
        metrics: counts the requests. Default: requests are not counted.

    Example:
        >>> server = GrpcServer(api)  # doctest: +SKIP
        >>> server.listen("127.0.0.1", 0)  # doctest: +SKIP
        43211
        >>> server.report_health(True)  # doctest: +SKIP
    """

    def __init__(
        self,
        api: ServingApi,
        *,
        limits: RequestLimits | None = None,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.limits = limits or RequestLimits()
        self.tls = tls
        self._calls = CallHandler(api, metrics)
        self._loop = EventLoop("grpc")
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    def listen(self, host: str, port: int) -> int:
        """Accept requests; health checks get NOT_SERVING.

        Args:
            host: address to listen on.
            port: port to listen on, 0 for any free one.

        Returns:
            The port.

        Raises:
            InputError: the port is in use, the address is another machine's, or a certificate cannot be used, see
                `TlsFiles.credentials`.
        """
        credentials = None if self.tls is None else self.tls.credentials()
        return self._loop.run(self._listen(host, port, credentials))

    def report_health(self, serving: bool) -> None:
        """Answer health checks with SERVING or NOT_SERVING; after `stop` it is NOT_SERVING for good."""
        self._calls.ready = serving
        self._loop.run(self._set_health(SERVING if serving else NOT_SERVING))

    def stop(self, grace: float) -> None:
        """Answer all requests that have arrived, refuse further ones, and return. A second call does nothing.

        Args:
            grace: max seconds for the requests that have arrived; then they are cancelled. 0 cancels them at once.
        """
        self._loop.run(self._stop(grace))

    def close(self) -> None:
        """End the event loop; to be called when nothing answers requests any more."""
        self._loop.close()

    async def _listen(self, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
        server = grpc.aio.server(
            options=[
                # Without this option, Linux lets a second server listen on the same port.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self.limits.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                *NO_CORE_LIMITS,
            ]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [PREDICTION_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        server.add_generic_rpc_handlers([self._calls])  # the last one, because it answers any other method, too
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
        await self._set_health(NOT_SERVING)
        await server.start()
        self._server = server
        return port

    async def _set_health(self, status: int) -> None:
        for service in SERVICES:
            await self._health.set(service, status)

    async def _stop(self, grace: float) -> None:
        self._calls.ready = False
        await self._health.enter_graceful_shutdown()
        server, self._server = self._server, None
        if server is None:
            return
        end = time.monotonic() + grace
        # gRPC's core ends the calls that wait in it, and those that arrive until the clients know of the stop, as
        # CANCELLED. So answers are held for a moment, as their deadlines allow: a client with a call in progress sends
        # no further one. When no call arrives any more, the stop is announced, and after it the answers go out.
        self._calls.hold_answers()
        await self._wait_until_quiet(min(MAX_QUIET_SECONDS, grace / 2))
        stopping = asyncio.ensure_future(server.stop(max(0.0, end - time.monotonic())))
        await asyncio.sleep(min(QUIET_SECONDS, grace / 2))
        self._calls.send_answers()
        await stopping

    async def _wait_until_quiet(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self._calls.n_calls
            for _ in range(2):  # twice, because after a busy loop a timer may fire before the calls that wait
                await asyncio.sleep(QUIET_SECONDS / 2)
            if self._calls.n_calls == before:
                return


class EventLoop:
    """An event loop in its own thread, which runs coroutines for other threads.

    Args:
        name: name of the thread.

    Example:
        >>> loop = EventLoop("example")
        >>> loop.run(asyncio.sleep(0, "done"))
        'done'
        >>> loop.close()
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, wait for it, and return its result or raise its error."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """End the thread. Callbacks that are ready still run."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # In a process with two loops, gRPC wakes both for one event, and the second one finds nothing to read.
    # No event is lost: https://github.com/grpc/grpc/issues/25364
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)
