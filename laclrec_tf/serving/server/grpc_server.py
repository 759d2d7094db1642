"""TensorFlow Serving's two gRPC services on a port, with health checks and reflection."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.api import ServingApi
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.log import RequestRecord, log_request
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.prediction import DEFAULT_SIGNATURE
from laclrec_tf.serving.tls import TlsFiles

logger = logging.getLogger(__name__)
# The names come from the descriptors, because reflection can describe only what is imported.
PREDICTION_SERVICE = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
MODEL_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE)  # "" is the server as a whole
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
Method = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Message]]
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
        >>> server.report_serving()  # doctest: +SKIP
    """

    def __init__(
        self,
        api: ServingApi,
        *,
        limits: RequestLimits | None = None,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.api = api
        self.limits = limits or RequestLimits()
        self.tls = tls
        self.metrics = metrics
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

    def report_serving(self) -> None:
        """Answer health checks with SERVING."""
        self._loop.run(self._set_health(SERVING))

    def stop(self, grace: float) -> None:
        """Refuse new requests and return when the running ones have ended.

        Args:
            grace: max seconds for the running requests; then they are cancelled.
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
        await self._set_health(NOT_SERVING)
        await server.start()
        self._server = server
        return port

    async def _set_health(self, status: int) -> None:
        for service in SERVICES:
            await self._health.set(service, status)

    async def _stop(self, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace)


def service_handlers(api: ServingApi, metrics: Metrics | None = None) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of both services; other methods of the services get UNIMPLEMENTED.

    Args:
        api: answers the requests.
        metrics: counts the requests. Default: requests are not counted.

    Returns:
        Handlers for `add_generic_rpc_handlers` of a `grpc.aio` server.
    """
    deliveries = Deliveries()

    async def predict(
        request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        running = api.start_predict(request, context.time_remaining())
        await deliveries.wait_for(running.outputs)
        return running.response()

    async def metadata(
        request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        return api.metadata(request)

    async def status(
        request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        return api.status(request)

    async def reload(
        request: model_management_pb2.ReloadConfigRequest, context: grpc.aio.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        return await asyncio.to_thread(api.reload, request)

    def service(name: str, **methods: tuple[Method, type[Message]]) -> grpc.GenericRpcHandler:
        handlers = {key: _handler(key, method, request, metrics) for key, (method, request) in methods.items()}
        return grpc.method_handlers_generic_handler(name, handlers)

    return [
        service(
            PREDICTION_SERVICE,
            Predict=(predict, predict_pb2.PredictRequest),
            GetModelMetadata=(metadata, get_model_metadata_pb2.GetModelMetadataRequest),
        ),
        service(
            MODEL_SERVICE,
            GetModelStatus=(status, get_model_status_pb2.GetModelStatusRequest),
            HandleReloadConfigRequest=(reload, model_management_pb2.ReloadConfigRequest),
        ),
    ]


def _handler(name: str, method: Method, request_type: type[Message], metrics: Metrics | None) -> grpc.RpcMethodHandler:
    """Count and log each request, and turn every error into a gRPC status."""

    async def answer(data: bytes, context: grpc.aio.ServicerContext) -> Message:
        start = time.perf_counter()
        record, code = RequestRecord(name), grpc.StatusCode.OK
        try:
            # Parsed here and not by gRPC, which would answer UNKNOWN to bytes that are not a request.
            request = request_type.FromString(data)
            record.model = request.model_spec.name if hasattr(request, "model_spec") else ""
            if isinstance(request, predict_pb2.PredictRequest):
                record.signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            response = await method(request, context)
            if isinstance(response, predict_pb2.PredictResponse):
                record.version = response.model_spec.version.value
            return response
        except ServingError as error:
            code, record.error = error.code, error.message
        except DecodeError:
            code = grpc.StatusCode.INVALID_ARGUMENT
            record.error = f"The message is not a {request_type.DESCRIPTOR.full_name}."
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            logger.exception("%s failed", name)
            code, record.error = grpc.StatusCode.INTERNAL, f"{name} failed; see the server's log."
        finally:
            seconds = time.perf_counter() - start
            record.code, record.milliseconds = code.name, seconds * 1000
            if metrics is not None:
                metrics.observe_request(name, record.model, record.code, seconds)
            log_request(record)
        await context.abort(code, record.error)
        raise AssertionError("abort() always raises")

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=None, response_serializer=lambda response: response.SerializeToString()
    )


class Deliveries:
    """Waits for futures of other threads like `asyncio.wrap_future`, but wakes the loop once for many of them.

    Otherwise a batch of 64 answers costs 64 system calls, and the two threads compete for the interpreter 64 times.

    Example:
        >>> future = Future()
        >>> future.set_result(None)
        >>> asyncio.run(Deliveries().wait_for(future))
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: list[asyncio.Future[None]] = []

    async def wait_for(self, future: Future[Any]) -> None:
        """Wait until a future is done, with a result or an error. Cancelling the wait cancels the future.

        Args:
            future: a future of another thread. All waits at the same time must be in the same loop.
        """
        if future.done():
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def done(future: Future[Any]) -> None:
            with self._lock:
                self._done.append(waiter)
                # When others are in the list, the loop was woken for them and has not run `_deliver` yet.
                is_first = len(self._done) == 1
            if is_first and not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver)

        future.add_done_callback(done)
        try:
            await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for waiter in done:
            if not waiter.done():
                waiter.set_result(None)


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
