"""The calls of TensorFlow Serving's two services: admitted, answered, counted and logged, whatever becomes of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.api import ServingApi, Slot
from laclrec_tf.serving.server.log import RequestRecord, log_request
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.prediction import DEFAULT_SIGNATURE

logger = logging.getLogger(__name__)
# The names come from the descriptors, because reflection can describe only what is imported.
_SERVICES = [
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
]
PREDICTION_SERVICE, MODEL_SERVICE = (service.full_name for service in _SERVICES)
# Path of a call -> name of its method. The names are labels of metrics, so callers must not be able to invent them.
METHODS = {f"/{service.full_name}/{method.name}": method.name for service in _SERVICES for method in service.methods}
OTHER_METHOD = "other"
# The message of a call is in memory while it arrives. So it may take this many seconds, and the methods that are not
# Predict, whose requests are short, have places of their own.
MESSAGE_SECONDS = 20.0
MAX_OTHER_CALLS, MAX_OTHER_BYTES = 32, 2**20
MAX_HELD_SHARE = 0.25  # of the time that a caller still waits, for an answer that is held at a stop
MAX_TEXT = 600  # an error message travels as a header, and clients refuse headers of more than 8 KB


@dataclass
class Call:
    """One call, from its headers to its end.

    Args:
        record: what the log and the metrics show of it.
        slot: its share of the `max_concurrent_requests`, or of the calls of other methods. Default: it needs none.
        start: time of `time.perf_counter()` of its arrival. Default: now.
        arrived: whether its message has arrived. Default: False.
        counted: whether it is in the log and the metrics. Default: False.
    """

    record: RequestRecord
    slot: Slot | None = None
    start: float = 0.0
    arrived: bool = False
    counted: bool = False

    def __post_init__(self) -> None:
        """Start the clock."""
        self.start = self.start or time.perf_counter()


NO_MESSAGE = (
    "The call ended before its message had arrived: the caller cancelled it, its deadline passed, it has none, or the "
    "message is larger than max_message_bytes."
)
Method = Callable[[Any, grpc.aio.ServicerContext, Call], Awaitable[Message]]


class CallHandler(grpc.GenericRpcHandler):
    """Answers the calls of both services; any other method gets UNIMPLEMENTED.

    gRPC asks `service` for a handler when the headers of a call have arrived, before its message is read. So a call
    beyond `max_concurrent_requests` costs no memory, and a call whose message never arrives is counted, too. It ends as
    DEADLINE_EXCEEDED after `MESSAGE_SECONDS`. The methods that are not Predict have `MAX_OTHER_CALLS` places, so that
    they answer when all of Predict's are taken.

    Args:
        api: answers the requests.
        metrics: counts the requests. Default: requests are not counted.

    Attributes:
        n_calls: number of calls that have arrived.
        ready: whether health checks get SERVING. Set by the server; at first False.
    """

    def __init__(self, api: ServingApi, metrics: Metrics | None = None) -> None:
        self.n_calls, self.ready = 0, False
        self._n_others = 0
        self._late: set[asyncio.Task[None]] = set()  # the loop itself would let the collector take a running task
        self._api = api
        self._metrics = metrics
        self._deliveries = Deliveries()
        self._answering = asyncio.Event()
        self._answering.set()
        self._methods: dict[str, tuple[Method, type[Message]]] = {
            f"/{PREDICTION_SERVICE}/Predict": (self._predict, predict_pb2.PredictRequest),
            f"/{PREDICTION_SERVICE}/GetModelMetadata": (
                self._metadata,
                get_model_metadata_pb2.GetModelMetadataRequest,
            ),
            f"/{MODEL_SERVICE}/GetModelStatus": (self._status, get_model_status_pb2.GetModelStatusRequest),
            f"/{MODEL_SERVICE}/HandleReloadConfigRequest": (self._reload, model_management_pb2.ReloadConfigRequest),
        }

    def hold_answers(self) -> None:
        """Keep the answers back until `send_answers`. Calls are still accepted and run.

        At a stop, gRPC's core ends the calls that the server has not accepted yet as CANCELLED. A client that waits for
        an answer sends no further call, so held answers keep new calls away until the clients know of the stop. A call
        with a deadline waits at most `MAX_HELD_SHARE` of its remaining time: a late answer would be lost as well.
        """
        self._answering.clear()

    def send_answers(self) -> None:
        """Send the answers that were kept back, and all later ones at once."""
        self._answering.set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler of one call, whose headers have arrived."""
        self.n_calls += 1
        path = handler_call_details.method
        call = Call(RequestRecord(METHODS.get(path, OTHER_METHOD)))
        task = asyncio.current_task()
        assert task is not None  # gRPC runs each call in a task of its own
        task.add_done_callback(partial(self._ended, call))
        if path not in self._methods:
            supported = ", ".join(METHODS[known] for known in self._methods)
            return self._refusal(call, grpc.StatusCode.UNIMPLEMENTED, f"No method {path}. There are: {supported}.")
        method, request_type = self._methods[path]
        is_predict = request_type is predict_pb2.PredictRequest
        try:
            call.slot = self._api.reserve() if is_predict else self._reserve_other()
        except ServingError as error:
            return self._refusal(call, error.code, error.message)
        # The handler of a stream reads the message itself, so that it can stop waiting for it.
        return grpc.stream_unary_rpc_method_handler(
            partial(self._answer, call, method, request_type),
            request_deserializer=None,  # gRPC would answer UNKNOWN to bytes that are not a request
            response_serializer=lambda response: response.SerializeToString(),
        )

    async def _answer(
        self,
        call: Call,
        method: Method,
        request_type: type[Message],
        messages: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext,
    ) -> Message:
        data = await self._receive(call, context)
        record, code = call.record, grpc.StatusCode.OK
        try:
            if request_type is not predict_pb2.PredictRequest and len(data) > MAX_OTHER_BYTES:
                raise _exhausted(f"A request of {record.method} may have at most {MAX_OTHER_BYTES} bytes.")
            request: Any = request_type.FromString(data)
            record.model = shortened(request.model_spec.name) if hasattr(request, "model_spec") else ""
            if isinstance(request, predict_pb2.PredictRequest):
                record.signature = shortened(request.model_spec.signature_name) or DEFAULT_SIGNATURE
            response = await method(request, context, call)
            if isinstance(response, predict_pb2.PredictResponse):
                record.version = response.model_spec.version.value
        except ServingError as error:
            code, record.error = error.code, shortened(error.message)
        except DecodeError:
            code = grpc.StatusCode.INVALID_ARGUMENT
            record.error = f"The message is not a {request_type.DESCRIPTOR.full_name}."
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            logger.exception("%s failed", record.method)
            code, record.error = grpc.StatusCode.INTERNAL, f"{record.method} failed; see the server's log."
        finally:
            self._count(call, code)
        await self._wait_to_answer(context)
        if record.error is not None:
            await context.abort(code, record.error)
        return response

    async def _receive(self, call: Call, context: grpc.aio.ServicerContext) -> bytes:
        # The read itself must not be cancelled: gRPC's core would write the message to memory that is free by then. To
        # abort the call ends the read.
        timer = asyncio.get_running_loop().call_later(MESSAGE_SECONDS, self._start_to_end, call, context)
        try:
            message: Any = await context.read()
            call.arrived = True
        finally:
            timer.cancel()
        if message is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_MESSAGE)
        return message

    def _start_to_end(self, call: Call, context: grpc.aio.ServicerContext) -> None:
        async def end() -> None:
            if call.arrived or call.counted:
                return
            call.record.error = f"The message of the call had not arrived after {MESSAGE_SECONDS:g} seconds."
            self._count(call, grpc.StatusCode.DEADLINE_EXCEEDED)
            with suppress(grpc.aio.BaseError):  # abort() always raises; the caller may be gone
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, call.record.error)

        task = asyncio.get_running_loop().create_task(end())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _reserve_other(self) -> Slot:
        if self._n_others >= MAX_OTHER_CALLS:
            raise _exhausted(
                f"The server answers at most {MAX_OTHER_CALLS} requests of methods that are not Predict at the same "
                "time. Try again later."
            )

        def free() -> None:
            self._n_others -= 1

        self._n_others += 1
        return Slot(free)

    def _refusal(self, call: Call, code: grpc.StatusCode, message: str) -> grpc.RpcMethodHandler:
        async def refuse(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
            call.record.error = shortened(message)
            self._count(call, code)
            await self._wait_to_answer(context)
            await context.abort(code, call.record.error)
            raise AssertionError("abort() always raises")

        # A handler of a stream may end the call without reading a message.
        return grpc.stream_unary_rpc_method_handler(refuse)

    async def _wait_to_answer(self, context: grpc.aio.ServicerContext) -> None:
        if self._answering.is_set():
            return
        remaining = context.time_remaining()
        max_seconds = None if remaining is None else remaining * MAX_HELD_SHARE
        with suppress(TimeoutError):
            await asyncio.wait_for(self._answering.wait(), max_seconds)

    def _ended(self, call: Call, task: asyncio.Task[Any]) -> None:
        if call.slot is not None:
            call.slot.release()
        if not call.counted:
            call.record.error = NO_MESSAGE
            self._count(call, grpc.StatusCode.CANCELLED)

    def _count(self, call: Call, code: grpc.StatusCode) -> None:
        call.counted, record = True, call.record
        seconds = time.perf_counter() - call.start
        record.code, record.milliseconds = code.name, seconds * 1000
        if self._metrics is not None:
            self._metrics.observe_request(record.method, record.model, record.code, seconds)
        log_request(record, self.ready)

    async def _predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext, call: Call
    ) -> predict_pb2.PredictResponse:
        slot, call.slot = call.slot, None
        running = self._api.start_predict(request, context.time_remaining(), slot)
        await self._deliveries.wait_for(running.outputs)
        return running.response()

    async def _metadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
        call: Call,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        return self._api.metadata(request)

    async def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext, call: Call
    ) -> get_model_status_pb2.GetModelStatusResponse:
        return self._api.status(request)

    async def _reload(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.aio.ServicerContext, call: Call
    ) -> model_management_pb2.ReloadConfigResponse:
        return await asyncio.to_thread(self._api.reload, request)


def shortened(message: str) -> str:
    """Leave out the middle of a text that is too long for a header, or for a line of the log.

    Example:
        >>> len(shortened("x" * 5000))
        600
    """
    if len(message) <= MAX_TEXT:
        return message
    half = MAX_TEXT // 2
    return f"{message[: half - 5]} ... {message[-half:]}"


def _exhausted(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


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
