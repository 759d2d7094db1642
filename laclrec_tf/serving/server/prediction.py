"""Tensors on the wire: reading them without trusting them, and writing them as TensorFlow Serving does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.server.limits import RequestLimits

MAX_ELEMENTS = 2**22
MAX_ROWS = 1024
# TensorFlow Serving answers with these fields and not with `tensor_content`, and clients read them.
VALUE_FIELDS = {
    tf.string: "string_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
}
_KNOWN = {np.dtype(kind.as_numpy_dtype): (field, kind.as_datatype_enum) for kind, field in VALUE_FIELDS.items()}
DEFAULT_SIGNATURE = "serving_default"
NO_LIMITS = RequestLimits(max_history_length=2**62, max_k=2**62)


def from_proto(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Read a tensor.

    As everywhere in TensorFlow, fewer values than elements mean that the last value is repeated. A few bytes
    can therefore ask for a huge tensor, so the declared shape is limited before anything is made of it.

    Args:
        name: the input's name, for messages.
        proto: what came over the wire.

    Returns:
        The array; strings as an object array of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, values and shape do not fit; RESOURCE_EXHAUSTED, more than `MAX_ROWS`
            rows or `MAX_ELEMENTS` elements.

    Example:
        >>> from_proto("k", tf.make_tensor_proto(10)).item()
        10
    """
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
    except TypeError:
        raise _malformed(name, f"unknown dtype {proto.dtype}") from None
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise _malformed(name, f"shape {shape} is not fully known")
    n_elements = math.prod(shape)
    if n_elements > MAX_ELEMENTS or (shape and shape[0] > MAX_ROWS):
        raise ServingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Input '{name}' may have {MAX_ROWS} rows and {MAX_ELEMENTS} elements. Received: shape {shape}. "
            "Send fewer histories in one request.",
        )
    field = VALUE_FIELDS.get(dtype)
    values = list(getattr(proto, field)) if field else []
    if len(values) > n_elements:
        raise _malformed(name, f"{len(values)} values for the {n_elements} elements of shape {shape}")
    if field and not (dtype == tf.string and proto.tensor_content):
        try:
            return _array(dtype, shape, n_elements, values, proto.tensor_content)
        except ValueError:
            raise _malformed(name, f"its content does not fit dtype {dtype.name} and shape {shape}") from None
    try:
        return tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
    except tf.errors.OpError:
        raise _malformed(name, f"its content does not fit dtype {dtype.name} and shape {shape}") from None


def _array(dtype: tf.DType, shape: list[int], n_elements: int, values: list[Any], content: bytes) -> np.ndarray:
    numpy_dtype = dtype.as_numpy_dtype
    if content:
        return np.frombuffer(content, numpy_dtype).reshape(shape)
    values += (values[-1:] or [b"" if dtype == tf.string else 0]) * (n_elements - len(values))
    return np.array(values, numpy_dtype).reshape(shape)


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Write an array as TensorFlow Serving does: one value for each element in the dtype's own field.

    Args:
        array: any shape; strings as an object array of bytes.

    Returns:
        The proto; `tf.make_ndarray` reads it.

    Example:
        >>> to_proto(np.array([0.5, 1.5], np.float32)).float_val
        [0.5, 1.5]
    """
    proto = tensor_pb2.TensorProto()
    write_array(array, proto)
    return proto


def write_array(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """Do what `to_proto` does, into a proto that is there already and empty.

    Args:
        array: any shape; strings as an object array of bytes.
        proto: where it goes.
    """
    known = _KNOWN.get(array.dtype)
    if known is None:
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    field, proto.dtype = known
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())


def _malformed(name: str, problem: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Input '{name}' is a malformed tensor: {problem}.")


@dataclass(frozen=True)
class PredictionInputs:
    """A request, read and checked.

    Args:
        signature: the signature's name.
        inputs: all inputs of the signature, by name.
        wanted: names of the outputs to answer with.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    wanted: list[str]


def read_request(
    model: LoadedModel, request: predict_pb2.PredictRequest, limits: RequestLimits = NO_LIMITS
) -> PredictionInputs:
    """Read a request for a model.

    Args:
        model: the version that was asked for; the request's model name and version are not looked at.
        request: signature name (empty: `serving_default`), inputs and output filter.
        limits: what the request may ask for. Default: anything.

    Returns:
        What to run.

    Raises:
        ServingError: INVALID_ARGUMENT, the request does not fit the signature; RESOURCE_EXHAUSTED, it is beyond
            the limits.
    """
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    wanted = _wanted_outputs(list(request.output_filter), list(model.signature_def(signature).outputs))
    inputs = model.complete(signature, {name: from_proto(name, proto) for name, proto in request.inputs.items()})
    limits.check_inputs(inputs)
    return PredictionInputs(signature, inputs, wanted)


def response_of(asked: PredictionInputs, outputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictResponse:
    """Write an answer.

    Args:
        asked: what was run.
        outputs: what came out, by name.

    Returns:
        The response with the signature's name; the caller fills in the model's name and version.
    """
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = asked.signature
    for name in asked.wanted:
        write_array(outputs[name], response.outputs[name])
    return response


def _wanted_outputs(output_filter: list[str], existing: list[str]) -> list[str]:
    for name in output_filter:
        if name not in existing or output_filter.count(name) > 1:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Argument `output_filter` must name outputs, each once: {', '.join(sorted(existing))}. "
                f"Received: {', '.join(output_filter)}.",
            )
    return output_filter or existing
