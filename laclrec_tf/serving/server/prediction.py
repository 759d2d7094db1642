"""A `PredictRequest` as checked arrays, and arrays as a `PredictResponse`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.serving.client.wire import DTYPES, read_array, write_array
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.server.limits import RequestLimits

MAX_ELEMENTS = 2**22
MAX_ROWS = 1024
MAX_REPEATED = 2**14
MAX_RANK = 8  # that of the REST API, too
DEFAULT_SIGNATURE = "serving_default"
NO_LIMITS = RequestLimits(max_history_length=2**62, max_k=2**62)
# TensorFlow Serving answers with these fields and not with `tensor_content`, and clients read them.
VALUE_FIELDS = {tf.dtypes.as_dtype(number): field for number, (_, field) in DTYPES.items()}
Spec: TypeAlias = tuple[int, tuple[int, ...]]  # number of the dtype in TensorFlow's DataType, and shape
STRING = tf.string.as_datatype_enum
_WITH_FIELD = frozenset(dtype for dtype, _ in DTYPES.values())


@dataclass(frozen=True)
class PredictionInputs:
    """A request, read and checked.

    Args:
        signature: name of the signature.
        inputs: all inputs of the signature, by name.
        output_names: names of the outputs to answer with.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    output_names: list[str]


def read_request(
    model: LoadedModel, request: predict_pb2.PredictRequest, limits: RequestLimits = NO_LIMITS
) -> PredictionInputs:
    """Read a request for a model.

    Args:
        model: the version that the request selects; the model name and version in the request are ignored.
        request: signature name (empty: `serving_default`), inputs and output filter.
        limits: limits of the inputs. Default: none.

    Returns:
        The inputs to run.

    Raises:
        ServingError: INVALID_ARGUMENT, the request does not fit the signature; RESOURCE_EXHAUSTED, it is beyond
            the limits.
    """
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    names = _output_names(list(request.output_filter), list(model.signature_def(signature).outputs))
    # A few bytes can declare a huge tensor: nothing is built before all that is declared is checked.
    specs = {name: declared_spec(name, proto) for name, proto in request.inputs.items()}
    model.check(signature, specs)
    strings = [name for name, (dtype, _) in specs.items() if dtype == STRING]
    limits.check_shapes({name: shape for name, (_, shape) in specs.items()}, strings)
    arrays = {name: _read_values(name, proto, *specs[name]) for name, proto in request.inputs.items()}
    limits.check_k(arrays.get("k"))
    inputs = model.with_defaults(signature, arrays)
    return PredictionInputs(signature, inputs, names)


def _output_names(output_filter: list[str], existing: list[str]) -> list[str]:
    for name in output_filter:
        if name not in existing or output_filter.count(name) > 1:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Argument `output_filter` must name outputs, each once: {', '.join(sorted(existing))}. "
                f"Received: {', '.join(output_filter)}.",
            )
    return output_filter or existing


def response_of(prediction: PredictionInputs, outputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictResponse:
    """Write the answer to a request.

    Args:
        prediction: the request.
        outputs: all outputs of the signature, by name.

    Returns:
        The response with the signature's name; the caller adds the model's name and version.
    """
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = prediction.signature
    for name in prediction.output_names:
        write_output(outputs[name], response.outputs[name])
    return response


def declared_spec(name: str, proto: tensor_pb2.TensorProto) -> Spec:
    """Return what a tensor of an untrusted request says that it is, without building it.

    Args:
        name: name of the input, for messages.
        proto: the tensor.

    Returns:
        Number of the dtype in TensorFlow's `DataType`, and shape.

    Raises:
        ServingError: INVALID_ARGUMENT, the dtype or the shape is unknown, or there are more than `MAX_RANK` dimensions
            or more values than elements; RESOURCE_EXHAUSTED, more than `MAX_ROWS` rows or `MAX_ELEMENTS` elements.

    Example:
        >>> declared_spec("k", tf.make_tensor_proto([10, 20]))
        (3, (2,))
    """
    if (rank := len(proto.tensor_shape.dim)) > MAX_RANK:  # first: the product of many sizes takes minutes
        raise _malformed(name, f"{rank} dimensions, but at most {MAX_RANK} are allowed")
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    if proto.dtype not in DTYPES:
        try:
            tf.dtypes.as_dtype(proto.dtype)
        except TypeError:
            raise _malformed(name, f"unknown dtype {proto.dtype}") from None
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise _malformed(name, f"shape {list(shape)} is not fully known")
    n_elements = math.prod(shape)
    if n_elements > MAX_ELEMENTS or (shape and shape[0] > MAX_ROWS):
        raise ServingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Input '{name}' may have at most {MAX_ROWS} rows and {MAX_ELEMENTS} elements. "
            f"Received: shape {list(shape)}. Send fewer histories in one request.",
        )
    if proto.dtype in DTYPES and (n_values := len(getattr(proto, DTYPES[proto.dtype][1]))) > n_elements:
        raise _malformed(name, f"{n_values} values for the {n_elements} elements of shape {list(shape)}")
    return proto.dtype, shape


def read_input(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Read a tensor from an untrusted request.

    As everywhere in TensorFlow, when there are fewer values than elements, the last value is repeated, here at most
    `MAX_REPEATED` times.

    Args:
        name: name of the input, for messages.
        proto: the tensor.

    Returns:
        The array; strings are an object array of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, the values do not fit the shape; RESOURCE_EXHAUSTED, the last value would be
            repeated too often; see also `declared_spec`.

    Example:
        >>> read_input("k", tf.make_tensor_proto(10)).item()
        10
    """
    return _read_values(name, proto, *declared_spec(name, proto))


def _read_values(name: str, proto: tensor_pb2.TensorProto, dtype: int, shape: tuple[int, ...]) -> np.ndarray:
    n_elements = math.prod(shape)
    has_field, content = dtype in DTYPES, proto.tensor_content
    if has_field and not content and n_elements > MAX_REPEATED:
        n_values = len(getattr(proto, DTYPES[dtype][1]))
        if n_elements - n_values > MAX_REPEATED:
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Input '{name}' has {n_values} values for the {n_elements} elements of shape {list(shape)}. "
                f"At most {MAX_REPEATED} may be left out. Send all values.",
            )
    try:
        if has_field and not (dtype == STRING and content):
            return read_array(proto)
        if dtype == STRING and len(content) < n_elements:  # each string takes a byte for its length
            raise ValueError
        return tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(dtype)).numpy()
    except (ValueError, tf.errors.OpError):
        kind = tf.dtypes.as_dtype(dtype).name
        raise _malformed(name, f"its content does not fit dtype {kind} and shape {list(shape)}") from None


def _malformed(name: str, problem: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Input '{name}' is a malformed tensor: {problem}.")


def write_output(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """Write an array as TensorFlow Serving does: one value for each element in the field of the dtype.

    Args:
        array: any shape; strings are an object array of bytes.
        proto: an empty tensor to write to.

    Example:
        >>> proto = tensor_pb2.TensorProto()
        >>> write_output(np.array([0.5, 1.5], np.float32), proto)
        >>> proto.float_val
        [0.5, 1.5]
    """
    if array.dtype in _WITH_FIELD:
        write_array(array, proto)
    else:
        proto.CopyFrom(tf.make_tensor_proto(array))
