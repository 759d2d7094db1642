"""TensorFlow Serving's two gRPC services over a model store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
from google.protobuf import message
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from laclrec_tf.serving.model_store import ModelStore
from laclrec_tf.serving.prediction import predict
from laclrec_tf.serving.serving_error import ServingError

logger = logging.getLogger(__name__)


def answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a method's errors into gRPC statuses; whatever happens, the server lives on.

    Args:
        method: `(self, request) -> response`, which raises `ServingError` for what it cannot answer.

    Returns:
        `(self, request, context) -> response`, as gRPC calls it.
    """

    @wraps(method)
    def answer(self: Any, request: message.Message, context: grpc.ServicerContext) -> message.Message:
        try:
            if not request.HasField("model_spec"):
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
            return method(self, request)
        except ServingError as error:
            code, text = error.code, error.message
        except Exception:
            logger.exception("%s failed", method.__name__)
            code, text = grpc.StatusCode.INTERNAL, f"{method.__name__} failed; the server's log says why."
        context.abort(code, text)
        raise AssertionError("abort() always raises")

    return answer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`Predict` and `GetModelMetadata`; the service's other methods answer UNIMPLEMENTED.

    Args:
        store: the model.
    """

    def __init__(self, store: ModelStore) -> None:
        """Serve what is in the store."""
        self.store = store

    @answering
    def Predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Run a signature."""
        version, model = self.store.resolve(request.model_spec)
        response = predict(model, request)
        response.model_spec.name = self.store.model_name
        response.model_spec.version.value = version
        return response

    @answering
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Say what the signatures take and give."""
        if list(request.metadata_field) != ["signature_def"]:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Argument `metadata_field` must be the one field there is, signature_def. "
                f"Received: {', '.join(request.metadata_field) or 'none'}.",
            )
        version, model = self.store.resolve(request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in model.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        spec = model_pb2.ModelSpec(name=self.store.model_name)
        spec.version.value = version
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
        response.metadata["signature_def"].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """`GetModelStatus`; the service's other method answers UNIMPLEMENTED.

    Args:
        store: the model.
    """

    def __init__(self, store: ModelStore) -> None:
        """Serve what is in the store."""
        self.store = store

    @answering
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """List the versions in memory; a version gets into the store when it can answer."""
        spec = request.model_spec
        wanted, _ = self.store.resolve(spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in [wanted] if spec.HasField("version") else sorted(self.store.versions):
            status = response.model_version_status.add(version=number)
            status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
            status.status.error_code = error_codes_pb2.OK
        return response
