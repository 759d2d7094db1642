"""TensorFlow Serving's two gRPC services: they carry requests to a `ServingApi` and answers back."""

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
from laclrec_tf.serving.server.log import log_request
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.prediction import DEFAULT_SIGNATURE
from laclrec_tf.serving.tls import TlsFiles

logger = logging.getLogger(__name__)
# From the descriptors, so that reflection finds them: it can describe what is imported, and nothing else.
PREDICTION_SERVICE = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
MODEL_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
T = TypeVar("T")
SERVICES = ("", PREDICTION_SERVICE, MODEL_SERVICE)  # "" is the server as a whole
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Deliveries:
    """Does what `asyncio.wrap_future` does, which wakes the loop for every single future.

    A batch of 64 answers then costs 64 system calls, and as often two threads fight for the interpreter.

    Example:
        >>> future = Future()
        >>> future.set_result(None)
        >>> asyncio.run(Deliveries().wait_for(future))
    """

    def __init__(self) -> None:
        """Nothing is waiting."""
        self._lock = threading.Lock()
        self._done: list[asyncio.Future[None]] = []

    async def wait_for(self, future: Future[Any]) -> None:
        """Wait until a future is done, whatever came out. When the waiting is cancelled, so is the future.

        Args:
            future: of another thread. All that wait at the same time must wait in the same loop.
        """
        if future.done():
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def done(future: Future[Any]) -> None:
            with self._lock:
                self._done.append(waiter)
                # Who finds others before it need not knock: they have knocked, and nobody has come yet.
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


def service_handlers(api: ServingApi, metrics: Metrics | None = None) -> list[grpc.GenericRpcHandler]:
    """Make the services; methods that are not there answer UNIMPLEMENTED.

    Args:
        api: answers the requests.
        metrics: counts them. Default: nobody does.

    Returns:
        Handlers for `add_generic_rpc_handlers` of a `grpc.aio` server.
    """
    prediction, models = PredictionService(api), ModelService(api)
    return [
        grpc.method_handlers_generic_handler(
            PREDICTION_SERVICE,
            {
                "Predict": _handler(prediction.Predict, predict_pb2.PredictRequest, metrics),
                "GetModelMetadata": _handler(
                    prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest, metrics
                ),
            },
        ),
        grpc.method_handlers_generic_handler(
            MODEL_SERVICE,
            {
                "GetModelStatus": _handler(models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest, metrics),
                "HandleReloadConfigRequest": _handler(
                    models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest, metrics
                ),
            },
        ),
    ]


class PredictionService:
    """`Predict` and `GetModelMetadata`.

    Args:
        api: answers the requests.
    """

    def __init__(self, api: ServingApi) -> None:
        """Answer with the API."""
        self._api = api
        self._deliveries = Deliveries()

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Run a signature."""
        running = self._api.start_predict(request, context.time_remaining())
        await self._deliveries.wait_for(running.outputs)
        return running.response()

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Say what the signatures take and give."""
        return self._api.metadata(request)


class ModelService:
    """`GetModelStatus` and `HandleReloadConfigRequest`.

    Args:
        api: answers the requests.
    """

    def __init__(self, api: ServingApi) -> None:
        """Answer with the API."""
        self._api = api

    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tell the states of a model's versions."""
        return self._api.status(request)

    async def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.aio.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serve the models of another configuration."""
        return await asyncio.to_thread(self._api.reload, request)


def _handler(
    method: Callable[[Any, grpc.aio.ServicerContext], Awaitable[Message]],
    request_type: type[Message],
    metrics: Metrics | None,
) -> grpc.RpcMethodHandler:
    """Turn a method's errors into gRPC statuses; whatever happens, the server lives on."""
    name = method.__name__

    async def answer(data: bytes, context: grpc.aio.ServicerContext) -> Message:
        start = time.perf_counter()
        model, code, text = "", grpc.StatusCode.OK, ""
        signature = version = None
        try:
            # Read here and not by gRPC, which would answer UNKNOWN for what is no request.
            request = request_type.FromString(data)
            model = request.model_spec.name if hasattr(request, "model_spec") else ""
            if isinstance(request, predict_pb2.PredictRequest):
                signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            response = await method(request, context)
            if isinstance(response, predict_pb2.PredictResponse):
                version = response.model_spec.version.value
            return response
        except ServingError as error:
            code, text = error.code, error.message
        except DecodeError:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, f"The message is no {request_type.DESCRIPTOR.full_name}."
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            logger.exception("%s failed", name)
            code, text = grpc.StatusCode.INTERNAL, f"{name} failed; the server's log says why."
        finally:
            seconds = time.perf_counter() - start
            if metrics is not None:
                metrics.observe_request(name, model, code.name, seconds)
            log_request(
                method=name,
                model=model,
                version=version,
                signature=signature,
                code=code.name,
                milliseconds=seconds * 1000,
                error=text or None,
            )
        await context.abort(code, text)
        raise AssertionError("abort() always raises")

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=None, response_serializer=lambda response: response.SerializeToString()
    )


class EventLoop:
    """Runs coroutines from other threads.

    Args:
        name: the thread's name.

    Example:
        >>> loop = EventLoop("example")
        >>> loop.run(asyncio.sleep(0, "done"))
        'done'
        >>> loop.close()
    """

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        Args:
            coroutine: what to run.

        Returns:
            Its result; what it raises is raised.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """End the thread. Callbacks that are ready are still run."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Where a process has two loops, gRPC wakes both for one event, and the one that comes late finds nothing.
    # Nothing is lost: https://github.com/grpc/grpc/issues/25364
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)


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
