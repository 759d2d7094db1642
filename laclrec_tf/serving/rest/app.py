"""TensorFlow Serving's REST API, version 1, as an ASGI application."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial, wraps
from typing import Any, Protocol
from urllib.parse import unquote

import anyio.to_thread
import grpc
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.rest.bodies import HeldBodies, content_encoding, decompressed, read_body
from laclrec_tf.serving.rest.predict_json import input_protos, predict_answer, read_predict_body
from laclrec_tf.serving.rest.status import RestError, error_json, http_status, metadata_json, status_json
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.log import RequestRecord, log_request
from laclrec_tf.serving.server.metrics import ServerMetrics
from laclrec_tf.serving.server.prediction import DEFAULT_SIGNATURE

logger = logging.getLogger(__name__)
HEALTH = "REST Health"
METRICS_ROUTE = "/monitoring/prometheus/metrics"
HEALTH_ROUTE = "/healthz"
CONCURRENT_PREDICTS = 64
CONCURRENT_OTHERS = 4
# Max memory of all bodies that have arrived, as a multiple of the max size of one, but at least 16 MiB.
HELD_BODIES = 4
MIN_HELD_BYTES = 2**24
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# https://github.com/tensorflow/serving/blob/master/tensorflow_serving/model_servers/http_rest_api_util.cc
_MODEL = r"(?i:/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
_GET = re.compile(_MODEL + r"(?P<metadata>/metadata)?)")
_POST = re.compile(_MODEL + r":(?P<verb>predict|classify|regress))")


class Api(Protocol):
    """The methods of a server that the REST API calls; gRPC calls them, too. They raise `ServingError`."""

    def predict(self, request: predict_pb2.PredictRequest, timeout: float | None = None) -> predict_pb2.PredictResponse:
        """Run a signature."""

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Return the signatures of a version."""

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the states of a model's versions."""

    def has_models(self) -> bool:
        """Return whether there is a model to serve."""


def rest_app(
    api: Api,
    *,
    metrics: ServerMetrics | None = None,
    timeout: float = 30.0,
    max_body_bytes: int = RequestLimits.max_message_bytes,
    default_model: str | None = None,
    health_route: str = HEALTH_ROUTE,
    predict_route: str | None = None,
) -> Starlette:
    """Make the application.

    | route | answer |
    | --- | --- |
    | `GET /v1/models/NAME[/versions/N or /labels/LABEL]` | states of the versions |
    | `GET /v1/models/NAME[/...]/metadata` | inputs and outputs of the signatures |
    | `POST /v1/models/NAME[/...]:predict` | a signature's outputs; see `predict_json` |
    | `GET /monitoring/prometheus/metrics` | the metrics, with `metrics` |
    | `GET health_route` | 200 when `default_model` has an AVAILABLE version, else 503 |
    | `POST predict_route` | `:predict` of `default_model`, for Vertex AI |

    Errors are `{"error": "..."}` with TensorFlow Serving's status codes, and 413 for a body that is too large. Unlike
    TensorFlow Serving, it accepts histories of different lengths in one request and pads them with "".

    Args:
        api: answers the requests; its `ServingError`s become JSON errors.
        metrics: counts the requests, as `REST Predict` and so on; its route shows them. Default: requests are not
            counted, and the route does not exist.
        timeout: max seconds of a request, with the time until its body has arrived. Default: 30.
        max_body_bytes: max size of a request's body. Default: 64 MiB.
        default_model: name of the model of `predict_route` and `health_route`. Default: none; then `health_route`
            reports whether the server has a model.
        health_route: path of the health check. Default: "/healthz".
        predict_route: path of the predictions of `default_model`. Default: none.

    Returns:
        The application, for uvicorn or another ASGI server.

    Source: https://www.tensorflow.org/tfx/serving/api_rest
    """
    endpoints = _Endpoints(api, metrics, timeout, max_body_bytes, default_model)
    routes = [Route(health_route, endpoints.health, methods=["GET"])]
    if metrics is not None:
        routes.append(Route(METRICS_ROUTE, endpoints.exposition, methods=["GET"]))
    if predict_route is not None:
        routes.append(Route(predict_route, endpoints.default_predict, methods=["POST"]))
    routes.append(Route("/{path:path}", endpoints.model, methods=VERBS))
    return Starlette(routes=routes)


def _answering(
    endpoint: Callable[[Any, Request, RequestRecord], Awaitable[bytes]],
) -> Callable[[Any, Request], Awaitable[Response]]:
    """Turn an endpoint into `(self, request) -> response`, as Starlette calls it.

    The endpoint describes the request in `record`, returns JSON, and raises `ServingError` when it cannot answer. Every
    error becomes a response. Each request is counted and logged; a successful health check is not logged.
    """

    @wraps(endpoint)
    async def answer(endpoints: _Endpoints, request: Request) -> Response:
        started, record, status = time.perf_counter(), RequestRecord("REST"), 200
        try:
            body = await endpoint(endpoints, request, record)
        except ServingError as error:
            status, record.code, record.error = http_status(error), error.code.name, error.message
        except ClientDisconnect:
            status, record.code, record.error = 499, "CANCELLED", "The caller closed the connection."
        except Exception:
            logger.exception("%s failed", record.method)
            status, record.code, record.error = 500, "INTERNAL", f"{record.method} failed; see the server's log."
        if record.error is not None:
            body = error_json(record.error)
        seconds = time.perf_counter() - started
        record.milliseconds = 1000 * seconds
        if endpoints.metrics is not None:
            endpoints.metrics.observe_request(record.method, record.model, record.code, seconds)
        if record.method != HEALTH or record.code != "OK":
            log_request(record)
        return Response(body, status, media_type="application/json")

    return answer


class _Endpoints:
    def __init__(
        self, api: Api, metrics: ServerMetrics | None, timeout: float, max_body_bytes: int, default_model: str | None
    ) -> None:
        self.api = api
        self.metrics = metrics
        self.timeout = timeout
        self.max_body_bytes = max_body_bytes
        self.default_model = default_model
        # Requests about the server must be answered while all threads for predictions are busy.
        self._predicts = anyio.CapacityLimiter(CONCURRENT_PREDICTS)
        self._others = anyio.CapacityLimiter(CONCURRENT_OTHERS)
        self._bodies = HeldBodies(max(HELD_BODIES * max_body_bytes, MIN_HELD_BYTES))

    @_answering
    async def model(self, request: Request, record: RequestRecord) -> bytes:
        """Answer requests to `/v1/models/...`."""
        path = request.scope["raw_path"].decode("latin-1")
        pattern = {"GET": _GET, "POST": _POST}.get(request.method)
        found = pattern.fullmatch(path) if pattern else None
        if found is None:
            raise _no_such_path(request.method, path)
        spec = model_pb2.ModelSpec(name=unquote(found["name"]), version_label=unquote(found["label"] or ""))
        if found["version"]:
            spec.version.value = int(found["version"])
        record.model = spec.name
        if request.method == "POST":
            return await self._post(found["verb"].lower(), spec, request, record)
        record.method = "REST GetModelMetadata" if found["metadata"] else "REST GetModelStatus"
        work = self._metadata if found["metadata"] else self._status
        return await anyio.to_thread.run_sync(work, spec, limiter=self._others)

    @_answering
    async def default_predict(self, request: Request, record: RequestRecord) -> bytes:
        """Answer `:predict` of the default model."""
        record.model = self.default_model or ""
        return await self._post("predict", model_pb2.ModelSpec(name=record.model), request, record)

    @_answering
    async def health(self, request: Request, record: RequestRecord) -> bytes:
        """Report whether the default model can answer."""
        record.method, record.model = HEALTH, self.default_model or ""
        await anyio.to_thread.run_sync(self._check_default_model, limiter=self._others)
        return b'{"status": "ok"}'

    async def exposition(self, request: Request) -> Response:
        """Answer with the metrics."""
        assert self.metrics is not None  # else the route does not exist
        text = await anyio.to_thread.run_sync(self.metrics.exposition, limiter=self._others)
        return Response(text, media_type=self.metrics.content_type)

    async def _post(self, verb: str, spec: model_pb2.ModelSpec, request: Request, record: RequestRecord) -> bytes:
        record.method = f"REST {verb.capitalize()}"
        if verb != "predict":
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f":{verb} is not supported. Use :predict.")
        deadline, encoding = time.monotonic() + self.timeout, content_encoding(request)
        with self._bodies.of_request() as held:
            body = await read_body(request, self.max_body_bytes, self.timeout, held)
            unpack = partial(decompressed, body, encoding, self.max_body_bytes, held.hold)
            work = partial(self._predict, unpack, spec, deadline, record)
            return await anyio.to_thread.run_sync(work, limiter=self._predicts)

    def _predict(
        self, unpack: Callable[[], bytearray], spec: model_pb2.ModelSpec, deadline: float, record: RequestRecord
    ) -> bytes:
        content = read_predict_body(unpack())
        record.signature = spec.signature_name = content.signature_name or DEFAULT_SIGNATURE
        definitions = _definitions(self._metadata_response(spec).metadata["signature_def"].value)
        if record.signature not in definitions:
            known = ", ".join(sorted(definitions))
            text = f"Serving signature name: '{record.signature}' not found in signature def. The model has: {known}."
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)
        request = predict_pb2.PredictRequest(model_spec=spec)
        for name, proto in input_protos(content, definitions[record.signature]).items():
            request.inputs[name].CopyFrom(proto)
            record.rows = max(record.rows or 0, proto.tensor_shape.dim[0].size if proto.tensor_shape.dim else 0)
        left = deadline - time.monotonic()
        if left <= 0:
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, f"The request took over {self.timeout:g} seconds.")
        response = self.api.predict(request, timeout=left)
        record.version = response.model_spec.version.value
        return predict_answer(response.outputs, content.row_format)

    def _metadata_response(self, spec: model_pb2.ModelSpec) -> get_model_metadata_pb2.GetModelMetadataResponse:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.CopyFrom(spec)
        request.model_spec.signature_name = ""
        return self.api.metadata(request)

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        return metadata_json(self._metadata_response(spec))

    def _status(self, spec: model_pb2.ModelSpec) -> bytes:
        return status_json(self.api.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))

    def _check_default_model(self) -> None:
        if self.default_model is None:
            if not self.api.has_models():
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server has no model.")
            return
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=self.default_model))
        try:
            versions = self.api.status(request).model_version_status
        except ServingError as error:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, error.message) from error
        if not any(version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE for version in versions):
            raise ServingError(grpc.StatusCode.UNAVAILABLE, f"No version of {self.default_model} is AVAILABLE yet.")


@lru_cache(maxsize=32)
def _definitions(serialised: bytes) -> dict[str, Any]:
    """Parse a `SignatureDefMap`, which is the same for all requests to a version."""
    return dict(get_model_metadata_pb2.SignatureDefMap.FromString(serialised).signature_def)


def _no_such_path(method: str, path: str) -> ServingError:
    text = f"Malformed request: {method} {path}"
    if path[:4].lower() == "/v1/":
        return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)
    return RestError(grpc.StatusCode.NOT_FOUND, text, 404)
