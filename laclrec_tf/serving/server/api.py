"""The server's answers, independent of the protocol: gRPC and REST call these methods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.batching import Arrays, RequestBatcher
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.merging import Merging
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.prediction import PredictionInputs, read_request, response_of
from laclrec_tf.serving.server.registry import ModelRegistry
from laclrec_tf.serving.server.served_model import ServedVersion


class ServingApi:
    """Answers TensorFlow Serving's requests.

    Args:
        registry: the models.
        batcher: runs their signatures.
        limits: limits of requests. Default: `RequestLimits()`.
        metrics: counts the requests in progress. Default: they are not counted.
        on_reload: called after each `reload` that changed the models. Default: nothing.

    Example:
        >>> api = ServingApi(ModelRegistry(), batcher)  # doctest: +SKIP
        >>> api.predict(request, timeout=0.1).outputs["item_ids"].string_val  # doctest: +SKIP
    """

    def __init__(
        self,
        registry: ModelRegistry,
        batcher: RequestBatcher,
        limits: RequestLimits | None = None,
        metrics: Metrics | None = None,
        on_reload: Callable[[], None] | None = None,
    ) -> None:
        self.registry = registry
        self.limits = limits or RequestLimits()
        self._batcher = batcher
        self._metrics = metrics
        self._on_reload = on_reload
        self._lock = threading.Lock()
        self._running = 0

    def has_models(self) -> bool:
        """Return whether there is a model to serve."""
        return self.registry.has_models()

    def reserve(self) -> Slot:
        """Take one of the `max_concurrent_requests`, before a request is read into memory.

        Raises:
            ServingError: RESOURCE_EXHAUSTED, all are taken.
        """
        self._count(+1)
        return Slot(lambda: self._count(-1))

    def predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None = None, slot: Slot | None = None
    ) -> predict_pb2.PredictResponse:
        """Run a signature.

        Args:
            request: model, version or label, signature, inputs, output filter.
            timeout: max seconds until the answer. Default: no limit.
            slot: see `start_predict`.

        Returns:
            The outputs.

        Raises:
            ServingError: the request cannot be answered.
        """
        running = self.start_predict(request, timeout, slot)
        try:
            running.outputs.exception(timeout)
        except (FutureTimeoutError, CancelledError):
            running.outputs.cancel()
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"The answer took longer than {timeout} seconds."
            ) from None
        return running.response()

    def start_predict(
        self, request: predict_pb2.PredictRequest, timeout: float | None = None, slot: Slot | None = None
    ) -> RunningPrediction:
        """Start to run a signature, without waiting for the outputs.

        Args:
            request: as for `predict`.
            timeout: seconds after which the request is not run any more. Default: no limit.
            slot: the slot that was reserved for this request. It is released when the outputs are there, or when the
                request cannot be answered. Default: one is reserved.

        Returns:
            The running prediction.

        Raises:
            ServingError: the request cannot be answered; `RunningPrediction.response` may raise others later.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        slot = slot or self.reserve()
        with ExitStack() as undo:
            undo.callback(slot.release)
            _check_spec(request)
            version = self.registry.acquire(request.model_spec)
            undo.callback(version.release)
            running = self._submit(version, request, deadline)
            release = undo.pop_all().close
        running.outputs.add_done_callback(lambda outputs: release())
        return running

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Return the signatures of a version.

        Raises:
            ServingError: INVALID_ARGUMENT, another field than `signature_def` is requested; NOT_FOUND.
        """
        _check_spec(request)
        if list(request.metadata_field) != ["signature_def"]:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Argument `metadata_field` must be the only field, signature_def. "
                f"Received: {', '.join(request.metadata_field) or 'none'}.",
            )
        version = self.registry.acquire(request.model_spec)
        try:
            assert version.model is not None  # while it is held
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.model.signature_defs.items():
                signatures.signature_def[name].CopyFrom(definition)
        finally:
            version.release()
        spec = model_pb2.ModelSpec(name=version.model_name)
        spec.version.value = version.number
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the states of a model's versions, newest first, ended versions included.

        Raises:
            ServingError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, no such label.
        """
        _check_spec(request)
        statuses = self.registry.statuses(request.model_spec)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)

    def reload(self, request: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        """Serve the models of another configuration, and return when all are loaded.

        Returns:
            A response with an OK status.

        Raises:
            ServingError: INVALID_ARGUMENT, the configuration is wrong or a model cannot be loaded;
                FAILED_PRECONDITION, a label selects a version that is not AVAILABLE. Nothing has changed.
        """
        try:
            self.registry.apply(request.config)
        except InputError as error:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        if self._on_reload is not None:
            self._on_reload()
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response

    def _submit(
        self, version: ServedVersion, request: predict_pb2.PredictRequest, deadline: float | None
    ) -> RunningPrediction:
        model = version.model
        assert model is not None  # while it is held
        prediction = read_request(model, request, self.limits)
        outputs = self._batcher.submit(
            version.model_name,
            (id(version), prediction.signature),
            lambda inputs: model.run_complete(prediction.signature, inputs),
            prediction.inputs,
            version.merging.get(prediction.signature, Merging.NEVER),
            deadline,
        )
        return RunningPrediction(prediction, version, outputs)

    def _count(self, change: int) -> None:
        with self._lock:
            if change > 0:
                self.limits.check_concurrency(self._running)
            self._running += change
            if self._metrics is not None:
                self._metrics.set_in_flight(self._running)


class Slot:
    """One of the `max_concurrent_requests`, see `ServingApi.reserve`."""

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        free, self._free = self._free, None
        if free is not None:
            free()


class RunningPrediction:
    """A prediction that has started.

    Attributes:
        outputs: a future of the signature's outputs; cancel it when the answer is not needed any more.
    """

    def __init__(self, prediction: PredictionInputs, version: ServedVersion, outputs: Future[Arrays]) -> None:
        self._prediction = prediction
        self._name, self._number = version.model_name, version.number
        self.outputs = outputs

    def response(self) -> predict_pb2.PredictResponse:
        """Write the answer; `outputs` must be done.

        Raises:
            ServingError: the request could not be answered.
        """
        response = response_of(self._prediction, self.outputs.result())
        response.model_spec.name = self._name
        response.model_spec.version.value = self._number
        return response


def _check_spec(
    request: predict_pb2.PredictRequest
    | get_model_metadata_pb2.GetModelMetadataRequest
    | get_model_status_pb2.GetModelStatusRequest,
) -> None:
    if not request.HasField("model_spec"):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
