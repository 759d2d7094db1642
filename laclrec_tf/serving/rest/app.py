"""TensorFlow Serving's REST API, version 1, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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
from laclrec_tf.serving.rest.predict_json import input_protos, predict_answer, read_predict_body
from laclrec_tf.serving.rest.status import RestError, error_json, http_status, metadata_json, status_json
from laclrec_tf.serving.server.log import log_request
from laclrec_tf.serving.server.metrics import ServerMetrics

logger = logging.getLogger(__name__)
HEALTH = "REST Health"
DEFAULT_SIGNATURE = "serving_default"
METRICS_ROUTE = "/monitoring/prometheus/metrics"
HEALTH_ROUTE = "/healthz"
MAX_BODY_BYTES = 64 * 2**20
CONCURRENT_PREDICTS = 64
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# https://github.com/tensorflow/serving/blob/master/tensorflow_serving/model_servers/http_rest_api_util.cc
_MODEL = r"(?i:/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
_GET = re.compile(_MODEL + r"(?P<metadata>/metadata)?)")
_POST = re.compile(_MODEL + r":(?P<verb>predict|classify|regress))")


@dataclass
class RestCall:
    """A request, as far as it is understood.

    Args:
        method: what is asked, such as `REST Predict`.
        model: the model's name as the request gives it.
        version: who answered.
        signature: the signature asked for.
        rows: rows in the request.
        code: the gRPC status's name.
        error: what the caller is told when there is no answer.
    """

    method: str = "REST"
    model: str = ""
    version: int | None = None
    signature: str | None = None
    rows: int | None = None
    code: str = "OK"
    error: str | None = None


class Face(Protocol):
    """What the endpoints are methods of."""

    metrics: ServerMetrics | None


def answering(
    endpoint: Callable[[Any, Request, RestCall], Awaitable[bytes]],
) -> Callable[[Any, Request], Awaitable[Response]]:
    """Turn an endpoint's errors into answers; whatever happens, none gets away.

    Args:
        endpoint: `(self, request, call) -> JSON`, which says in `call` what it learns of the request and raises
            `ServingError` for what it cannot answer.

    Returns:
        `(self, request) -> response`, as Starlette calls it. Each request is logged and counted, only not the log
        line of a server that reports its health every few seconds.
    """

    @wraps(endpoint)
    async def answer(face: Face, request: Request) -> Response:
        started, call, status = time.perf_counter(), RestCall(), 200
        try:
            body = await endpoint(face, request, call)
        except ServingError as error:
            status, call.code, call.error = http_status(error), error.code.name, error.message
        except ClientDisconnect:
            status, call.code, call.error = 499, "CANCELLED", "The caller hung up."
        except Exception:
            logger.exception("%s failed", call.method)
            status, call.code, call.error = 500, "INTERNAL", f"{call.method} failed; the server's log says why."
        if call.error is not None:
            body = error_json(call.error)
        seconds = time.perf_counter() - started
        if face.metrics is not None:
            face.metrics.observe_request(call.method, call.model, call.code, seconds)
        if call.method != HEALTH or call.code != "OK":
            log_request(**vars(call), milliseconds=1000 * seconds)
        return Response(body, status, media_type="application/json")

    return answer


async def read_body(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Read a body; gzip is unpacked, as TensorFlow Serving does.

    Args:
        request: whose body it is.
        max_bytes: size that is still read, on the wire and unpacked.
        timeout: seconds that the caller may take to send it.

    Returns:
        The body.

    Raises:
        RestError: 413, it is larger; 415, it is compressed in another way; 400, it is no gzip though it says so;
            408, it did not arrive in time.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        text = f"Content-Encoding {encoding} is not supported. Use gzip, or send the JSON as it is."
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, text, 415)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        text = f"The request's body did not arrive within {timeout:g} seconds."
        raise RestError(grpc.StatusCode.DEADLINE_EXCEEDED, text, 408) from None
    return _unpacked(bytes(body), max_bytes) if encoding == "gzip" else bytes(body)


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    """Unpack at most `max_bytes`: a few bytes of gzip can hold gigabytes."""
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)
    try:
        unpacked = gzip.decompress(body, max_bytes + 1)
    except zlib.error:
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, "The request's body is no gzip.", 400) from None
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    if not gzip.eof:
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, "The request's body is gzip that was cut off.", 400)
    return unpacked


def _too_large(max_bytes: int) -> RestError:
    text = f"A request's body may have {max_bytes} bytes. Send fewer rows in one request."
    return RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 413)


class Api(Protocol):
    """What the REST API needs of a server; gRPC calls the same methods. Each raises `ServingError`."""

    def predict(self, request: predict_pb2.PredictRequest, timeout: float | None = None) -> predict_pb2.PredictResponse:
        """Run a signature."""

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Say what the signatures take and give."""

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Say in which state the versions are."""


def rest_app(
    api: Api,
    *,
    metrics: ServerMetrics | None = None,
    timeout: float = 30.0,
    max_body_bytes: int = MAX_BODY_BYTES,
    default_model: str | None = None,
    health_route: str = HEALTH_ROUTE,
    predict_route: str | None = None,
) -> Starlette:
    """Make the application.

    | route | answer |
    | --- | --- |
    | `GET /v1/models/NAME[/versions/N or /labels/LABEL]` | states of the versions |
    | `GET /v1/models/NAME[/...]/metadata` | what the signatures take and give |
    | `POST /v1/models/NAME[/...]:predict` | a signature's outputs; see `rest_json` |
    | `GET /monitoring/prometheus/metrics` | the metrics, when there are any |
    | `GET health_route` | 200 when `default_model` has a version that answers, else 503 |
    | `POST predict_route` | `:predict` of `default_model`, for Vertex AI |

    Errors are `{"error": "..."}` with TensorFlow Serving's status codes, and 413 for a body that is too large. One
    kindness goes beyond it: histories of different lengths in one request are filled up with "".

    Args:
        api: answers the requests; its `ServingError`s become errors here.
        metrics: counts the requests, as `REST Predict` and so on, and is what its route shows. Default: nothing is
            counted and there is no such route.
        timeout: seconds that a request may take, its body's way here included. Default: 30.
        max_body_bytes: size of a request's body. Default: 64 MiB.
        default_model: the model of `predict_route` and `health_route`. Default: none; `health_route` then says only
            that the server runs.
        health_route: Default: "/healthz".
        predict_route: Default: none.

    Returns:
        The application, for uvicorn or another ASGI server.

    Source: https://www.tensorflow.org/tfx/serving/api_rest
    """
    face = _RestFace(api, metrics, timeout, max_body_bytes, default_model)
    routes = [Route(health_route, face.health, methods=["GET"])]
    if metrics is not None:
        routes.append(Route(METRICS_ROUTE, face.exposition, methods=["GET"]))
    if predict_route is not None:
        routes.append(Route(predict_route, face.default_predict, methods=["POST"]))
    routes.append(Route("/{path:path}", face.model, methods=VERBS))
    return Starlette(routes=routes)


class _RestFace:
    """The endpoints."""

    def __init__(
        self, api: Api, metrics: ServerMetrics | None, timeout: float, max_body_bytes: int, default_model: str | None
    ) -> None:
        """Keep the settings."""
        self.api = api
        self.metrics = metrics
        self.timeout = timeout
        self.max_body_bytes = max_body_bytes
        self.default_model = default_model
        # Questions about the server must be answered while all threads for predictions are busy.
        self._predicts = anyio.CapacityLimiter(CONCURRENT_PREDICTS)
        self._others = anyio.CapacityLimiter(4)

    @answering
    async def model(self, request: Request, call: RestCall) -> bytes:
        """Answer what `/v1/models/...` asks."""
        path = request.scope["raw_path"].decode("latin-1")
        pattern = {"GET": _GET, "POST": _POST}.get(request.method)
        found = pattern.fullmatch(path) if pattern else None
        if found is None:
            raise _no_such_path(request.method, path)
        spec = model_pb2.ModelSpec(name=unquote(found["name"]), version_label=unquote(found["label"] or ""))
        if found["version"]:
            spec.version.value = int(found["version"])
        call.model = spec.name
        if request.method == "POST":
            return await self._post(found["verb"].lower(), spec, request, call)
        call.method = "REST GetModelMetadata" if found["metadata"] else "REST GetModelStatus"
        work = self._metadata if found["metadata"] else self._status
        return await anyio.to_thread.run_sync(work, spec, limiter=self._others)

    @answering
    async def default_predict(self, request: Request, call: RestCall) -> bytes:
        """Answer `:predict` of the default model."""
        call.model = self.default_model or ""
        return await self._post("predict", model_pb2.ModelSpec(name=call.model), request, call)

    @answering
    async def health(self, request: Request, call: RestCall) -> bytes:
        """Say whether the default model can answer."""
        call.method, call.model = HEALTH, self.default_model or ""
        await anyio.to_thread.run_sync(self._check_default_model, limiter=self._others)
        return b'{"status": "ok"}'

    async def exposition(self, request: Request) -> Response:
        """Show the metrics."""
        assert self.metrics is not None  # else there is no route to here
        text = await anyio.to_thread.run_sync(self.metrics.exposition, limiter=self._others)
        return Response(text, media_type=self.metrics.content_type)

    async def _post(self, verb: str, spec: model_pb2.ModelSpec, request: Request, call: RestCall) -> bytes:
        call.method = f"REST {verb.capitalize()}"
        if verb != "predict":
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"There is no {verb}. Send the request to :predict.")
        deadline = time.monotonic() + self.timeout
        body = await read_body(request, self.max_body_bytes, self.timeout)
        work = partial(self._predict, body, spec, deadline, call)
        return await anyio.to_thread.run_sync(work, limiter=self._predicts)

    def _predict(self, body: bytes, spec: model_pb2.ModelSpec, deadline: float, call: RestCall) -> bytes:
        content = read_predict_body(body)
        call.signature = spec.signature_name = content.signature_name or DEFAULT_SIGNATURE
        definitions = _definitions(self._metadata_response(spec).metadata["signature_def"].value)
        if call.signature not in definitions:
            known = ", ".join(sorted(definitions))
            text = f"Serving signature name: '{call.signature}' not found in signature def. The model has: {known}."
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)
        request = predict_pb2.PredictRequest(model_spec=spec)
        for name, proto in input_protos(content, definitions[call.signature]).items():
            request.inputs[name].CopyFrom(proto)
            call.rows = max(call.rows or 0, proto.tensor_shape.dim[0].size if proto.tensor_shape.dim else 0)
        left = deadline - time.monotonic()
        if left <= 0:
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, f"The request took over {self.timeout:g} seconds.")
        response = self.api.predict(request, timeout=left)
        call.version = response.model_spec.version.value
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
            return
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=self.default_model))
        try:
            versions = self.api.status(request).model_version_status
        except ServingError as error:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, error.message) from error
        if not any(version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE for version in versions):
            raise ServingError(grpc.StatusCode.UNAVAILABLE, f"No version of {self.default_model} can answer yet.")


@lru_cache(maxsize=32)
def _definitions(serialised: bytes) -> dict[str, Any]:
    """Read a `SignatureDefMap`, which is the same for each request to a version."""
    return dict(get_model_metadata_pb2.SignatureDefMap.FromString(serialised).signature_def)


def _no_such_path(method: str, path: str) -> ServingError:
    text = f"Malformed request: {method} {path}"
    if path[:4].lower() == "/v1/":
        return ServingError(grpc.StatusCode.INVALID_ARGUMENT, text)
    return RestError(grpc.StatusCode.NOT_FOUND, text, 404)
