"""Tensors on the wire: reading them without trusting them, and writing them as TensorFlow Serving does."""

from __future__ import annotations

import math
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from laclrec_tf.serving.serving_error import ServingError

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
