"""TensorFlow Serving's two gRPC services: they carry requests to a `ServingApi` and answers back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
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

from laclrec_tf.serving.deliveries import Deliveries
from laclrec_tf.serving.prediction import DEFAULT_SIGNATURE
from laclrec_tf.serving.request_metrics import Metrics
from laclrec_tf.serving.server_log import log_request
from laclrec_tf.serving.serving_api import ServingApi
from laclrec_tf.serving.serving_error import ServingError

logger = logging.getLogger(__name__)
# From the descriptors, so that reflection finds them: it can describe what is imported, and nothing else.
PREDICTION_SERVICE = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
MODEL_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


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
