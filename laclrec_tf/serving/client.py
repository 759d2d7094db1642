"""The gRPC client, for the embedded server and for TensorFlow Serving alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from laclrec_tf.errors import InputError
from laclrec_tf.serving.history_queries import HistoryQueries

_ADDRESS = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/\s]+):(?P<port>[0-9]+)")  # a colon in the host asks for brackets
REMEDIES = {
    grpc.StatusCode.NOT_FOUND: "Give the name of a model that is served there.",
    grpc.StatusCode.INVALID_ARGUMENT: "",
    grpc.StatusCode.FAILED_PRECONDITION: "",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Ask for fewer histories or a smaller k.",
    grpc.StatusCode.UNAVAILABLE: "Start a server with `laclrec-tf serve MODEL`, or give its HOST:PORT.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Give a larger timeout.",
    grpc.StatusCode.UNIMPLEMENTED: "Give the address of a server of TensorFlow Serving's protocol.",
}


class RetrievalClient(HistoryQueries):
    """Asks a server for recommendations.

    Args:
        target: the server, `HOST:PORT` or `[IPV6]:PORT`. An HTTP proxy in the environment is not used.
        model_name: the model's name on the server.
        timeout: seconds an answer may take. Default: 5.

    Raises:
        InputError: `target` is no address or `timeout` is not above 0.

    Example:
        >>> with RetrievalClient("127.0.0.1:8500", "shop") as client:  # doctest: +SKIP
        ...     answer = client.recommend(["tent", "stove"], k=3, exclude=["rope"])[0]
        ...     print(answer.item_ids, answer.scores)
        ('lamp', 'mug', 'map') (1.9, 1.2, 0.4)
    """

    def __init__(self, target: str, model_name: str, timeout: float = 5.0) -> None:
        """Prepare the connection; it is made by the first question."""
        address = _ADDRESS.fullmatch(target)
        if address is None or not 1 <= int(address["port"]) <= 65535:
            raise InputError(
                "The server must be given as HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:8500. "
                f"Received: {target!r}."
            )
        if not timeout > 0:
            raise InputError(f"Argument `timeout` must be above 0. Received: timeout={timeout}.")
        self.target = target
        self.model_name = model_name
        self.timeout = timeout
        # How long an answer may be is the server's business.
        options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(target, options=options)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def status(self) -> dict[int, str]:
        """Return the state of each version, such as `{1: "AVAILABLE"}`.

        Raises:
            InputError: no server answers, or it has no such model.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.model_name
        response = self._call(self._models.GetModelStatus, request)
        name_of = get_model_status_pb2.ModelVersionStatus.State.Name
        return {status.version: name_of(status.state) for status in response.model_version_status}

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> RetrievalClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array, tf.string if array.dtype == object else None))
        response = self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            code, details = error.code(), " ".join(str(error.details()).split()).rstrip(".")
            remedy = REMEDIES.get(code, "This is the server's fault: its log says more.")
            text = f"{self.target}, model {self.model_name}: {details} ({code.name}). {remedy}"
            raise InputError(text.rstrip()) from error
