"""What the server answers, whatever it was asked over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError

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
from laclrec_tf.serving.server.batcher import Arrays, RequestBatcher
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.merging import Merging
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.prediction import PredictionInputs, read_request, response_of
from laclrec_tf.serving.server.registry import ModelRegistry
from laclrec_tf.serving.server.served_model import ServedVersion


class RunningPrediction:
    """A `predict` that is on its way.

    Attributes:
        outputs: a future of the signature's outputs; cancel it when nobody wants the answer any more.
    """

    def __init__(self, asked: PredictionInputs, version: ServedVersion, outputs: Future[Arrays]) -> None:
        """Keep what the answer needs."""
        self._asked = asked
        self._name, self._number = version.model_name, version.number
        self.outputs = outputs

    def response(self) -> predict_pb2.PredictResponse:
        """Write the answer; `outputs` must be done.

        Raises:
            ServingError: the request could not be answered.
        """
        response = response_of(self._asked, self.outputs.result())
        response.model_spec.name = self._name
        response.model_spec.version.value = self._number
        return response


class ServingApi:
    """Answers TensorFlow Serving's requests; gRPC and REST only carry them here.

    Args:
        registry: the models.
        batcher: what runs them.
        limits: what a request may ask for. Default: `RequestLimits()`.
        metrics: counts requests in flight. Default: nobody does.

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
    ) -> None:
        """Keep the parts."""
        self.registry = registry
        self.limits = limits or RequestLimits()
        self._batcher = batcher
        self._metrics = metrics
        self._lock = threading.Lock()
        self._running = 0

    def predict(self, request: predict_pb2.PredictRequest, timeout: float | None = None) -> predict_pb2.PredictResponse:
        """Run a signature.

        Args:
            request: model, version or label, signature, inputs, output filter.
            timeout: seconds the answer may take. Default: any.

        Returns:
            The outputs.

        Raises:
            ServingError: it cannot be answered.
        """
        running = self.start_predict(request, timeout)
        try:
            running.outputs.exception(timeout)
        except (FutureTimeoutError, CancelledError):
            running.outputs.cancel()
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"The answer took longer than {timeout} seconds."
            ) from None
        return running.response()

    def start_predict(self, request: predict_pb2.PredictRequest, timeout: float | None = None) -> RunningPrediction:
        """Begin what `predict` does, and do not wait for it.

        Args:
            request: as for `predict`.
            timeout: seconds after which the request is not run any more. Default: any.

        Returns:
            The prediction on its way.

        Raises:
            ServingError: it cannot be answered; more may come with the outputs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        _check_spec(request)
        self._enter()
        try:
            version = self.registry.acquire(request.model_spec)
        except BaseException:
            self._leave()
            raise
        try:
            running = self._submit(version, request, deadline)
        except BaseException:
            version.release()
            self._leave()
            raise
        running.outputs.add_done_callback(self._leaving(version))
        return running

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Say what the signatures of a version take and give.

        Raises:
            ServingError: INVALID_ARGUMENT, another field than `signature_def` is asked for; NOT_FOUND.
        """
        _check_spec(request)
        if list(request.metadata_field) != ["signature_def"]:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Argument `metadata_field` must be the one field there is, signature_def. "
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
        """Tell the states of a model's versions, newest first; those that ended are among them.

        Raises:
            ServingError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, no such label.
        """
        _check_spec(request)
        statuses = self.registry.statuses(request.model_spec)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)

    def reload(self, request: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        """Serve the models of another configuration. It answers when all are loaded.

        Returns:
            A response with an OK status.

        Raises:
            ServingError: INVALID_ARGUMENT, the configuration is wrong or a model cannot be loaded;
                FAILED_PRECONDITION, a label is for a version that is not AVAILABLE. Nothing was changed.
        """
        try:
            self.registry.apply(request.config)
        except InputError as error:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response

    def _submit(
        self, version: ServedVersion, request: predict_pb2.PredictRequest, deadline: float | None
    ) -> RunningPrediction:
        model = version.model
        assert model is not None  # while it is held
        asked = read_request(model, request, self.limits)
        outputs = self._batcher.submit(
            version.model_name,
            (id(version), asked.signature),
            lambda inputs: model.run_complete(asked.signature, inputs),
            asked.inputs,
            version.merging.get(asked.signature, Merging.NEVER),
            deadline,
        )
        return RunningPrediction(asked, version, outputs)

    def _enter(self) -> None:
        with self._lock:
            self.limits.check_concurrency(self._running)
            self._running += 1
            self._count()

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            self._count()

    def _count(self) -> None:
        if self._metrics is not None:
            self._metrics.set_in_flight(self._running)

    def _leaving(self, version: ServedVersion) -> Callable[[Future[Arrays]], None]:
        def leave(outputs: Future[Arrays]) -> None:
            version.release()
            self._leave()

        return leave


def _check_spec(
    request: predict_pb2.PredictRequest
    | get_model_metadata_pb2.GetModelMetadataRequest
    | get_model_status_pb2.GetModelStatusRequest,
) -> None:
    if not request.HasField("model_spec"):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
