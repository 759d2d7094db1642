"""gRPC statuses as HTTP status codes, and responses other than predictions as TensorFlow Serving's JSON."""

from __future__ import annotations

import json

import grpc
from google.protobuf import json_format, message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from laclrec_tf.serving.errors import ServingError

# https://github.com/tensorflow/serving/blob/master/tensorflow_serving/model_servers/http_server.cc
HTTP_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


class RestError(ServingError):
    """An error with its own HTTP status code.

    Args:
        code: the gRPC status, for the log and the metrics.
        message: one line for the caller.
        http_status: the HTTP status code, such as 413.
    """

    def __init__(self, code: grpc.StatusCode, message: str, http_status: int) -> None:
        super().__init__(code, message)
        self.http_status = http_status


def http_status(error: ServingError) -> int:
    """Return the HTTP status code of an error.

    Example:
        >>> http_status(ServingError(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(shop)"))
        404
    """
    return error.http_status if isinstance(error, RestError) else HTTP_STATUS[error.code]


def status_json(response: get_model_status_pb2.GetModelStatusResponse) -> bytes:
    """Write the states of versions, the answer of `GET /v1/models/NAME`.

    Example:
        >>> response = get_model_status_pb2.GetModelStatusResponse()
        >>> _ = response.model_version_status.add(version=3, state="AVAILABLE")
        >>> json.loads(status_json(response))["model_version_status"][0]["version"]
        '3'
    """
    for status in response.model_version_status:
        status.status.SetInParent()  # TensorFlow Serving always writes it
    return _written(response).encode("utf-8")


def metadata_json(response: get_model_metadata_pb2.GetModelMetadataResponse) -> bytes:
    """Write the signatures, the answer of `GET /v1/models/NAME/metadata`.

    As in TensorFlow Serving, the map of signatures has no type name, which `Any` would add.
    """
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, map_ = _written(response.model_spec), _written(signatures)
    return f'{{\n"model_spec": {spec},\n"metadata": {{"signature_def": {map_}}}\n}}\n'.encode()


def error_json(text: str) -> bytes:
    """Write an error.

    Example:
        >>> error_json("no such model")
        b'{"error": "no such model"}'
    """
    return json.dumps({"error": text}, ensure_ascii=False).encode("utf-8", errors="replace")


def _written(proto: message.Message) -> str:
    return json_format.MessageToJson(
        proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
    )
