"""JSON values <-> tensors: nested lists of numbers and strings, bytes as `{"b64": "..."}`."""

from __future__ import annotations

import base64
import binascii
import math
import reprlib
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.prediction import MAX_ELEMENTS, VALUE_FIELDS

BASE64_KEY = "b64"
BYTES_SUFFIX = "_bytes"
MAX_RANK = 8


def json_to_proto(name: str, value: Any, info: meta_graph_pb2.TensorInfo) -> tensor_pb2.TensorProto:
    """Make the tensor of an input from parsed JSON.

    Args:
        name: name of the input, for messages.
        value: nested lists, or one value for a scalar. Lists of strings on the last axis may have different lengths
            when the signature does not fix its size; they are padded with "".
        info: dtype and shape in the signature. A shape of unknown rank accepts any nesting.

    Returns:
        The tensor.

    Raises:
        ServingError: INVALID_ARGUMENT, another type or nesting, or lists of different lengths; RESOURCE_EXHAUSTED,
            the padded lists would be too large; UNIMPLEMENTED, JSON has no values of this dtype.

    Example:
        >>> info = meta_graph_pb2.TensorInfo(dtype=tf.string.as_datatype_enum)
        >>> info.tensor_shape.CopyFrom(tf.TensorShape([None, None]).as_proto())
        >>> tf.make_ndarray(json_to_proto("history", [["tent", "stove"], ["rope"]], info)).tolist()
        [[b'tent', b'stove'], [b'rope', b'']]
    """
    dtype = tf.dtypes.as_dtype(info.dtype)
    if dtype not in VALUE_FIELDS:
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Input '{name}' is {dtype.name}, which JSON cannot hold.")
    sizes = [dimension.size for dimension in info.tensor_shape.dim]
    rank = _rank(name, value) if info.tensor_shape.unknown_rank else len(sizes)
    pad = dtype == tf.string and rank > 1 and (not sizes or sizes[-1] == -1)
    shape, leaves = _flattened(name, value, rank, pad)
    proto = tensor_pb2.TensorProto(dtype=info.dtype)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    try:
        getattr(proto, VALUE_FIELDS[dtype]).extend([_leaf(name, leaf, dtype) for leaf in leaves])
    except (ValueError, OverflowError):
        raise invalid(f"Input '{name}' has a number that is out of the range of {dtype.name}.") from None
    return proto


def proto_to_json(name: str, proto: tensor_pb2.TensorProto) -> Any:
    """Turn a tensor into values for `json.dumps`.

    Args:
        name: name of the output; `*_bytes` is written in base64.
        proto: the tensor.

    Returns:
        Nested lists, or one value for a scalar. Strings that are not UTF-8 are written in base64, too.

    Example:
        >>> proto_to_json("item_ids", tf.make_tensor_proto([[b"tent", b"\\xff"]]))
        [['tent', {'b64': '/w=='}]]
    """
    array = tf.make_ndarray(proto)
    if array.dtype == object:
        return _texts(array.tolist(), name.endswith(BYTES_SUFFIX))
    if array.dtype == np.float32:
        # 0.2 and not 0.20000000298: the shortest decimal number that is read as the same float32.
        array = array.astype(str).astype(np.float64)
    return array.tolist()


def is_base64(value: Any) -> bool:
    """Return whether parsed JSON is a bytes value, `{"b64": "..."}`, and not an object with named inputs.

    Example:
        >>> is_base64({"b64": "/w=="}), is_base64({"b64": "/w==", "k": 3})
        (True, False)
    """
    return isinstance(value, dict) and list(value) == [BASE64_KEY] and isinstance(value[BASE64_KEY], str)


def invalid(message: str) -> ServingError:
    """Make the error of an invalid request."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _rank(name: str, value: Any) -> int:
    rank, entry = 0, value
    while isinstance(entry, list):
        rank, entry = rank + 1, entry[0] if entry else None
    if rank > MAX_RANK:
        raise invalid(f"Input '{name}' may have at most {MAX_RANK} nested lists. Received: {rank}.")
    return rank


def _flattened(name: str, value: Any, rank: int, pad: bool) -> tuple[list[int], list[Any]]:
    """Return the shape and the values in row-major order; `pad` pads the last axis with ""."""
    shape: list[int] = []
    entries = [value]
    for axis in range(rank):
        if not all(isinstance(entry, list) for entry in entries):
            raise _wrong_nesting(name, rank, value)
        lengths = {len(entry) for entry in entries}
        width = max(lengths, default=0)
        if len(lengths) > 1:
            if not pad or axis < rank - 1:
                raise invalid(f"Input '{name}' has lists of different lengths on axis {axis}: {sorted(lengths)}.")
            if len(entries) * width > MAX_ELEMENTS:
                raise ServingError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"Input '{name}' may have at most {MAX_ELEMENTS} elements. Received: {len(entries)} rows, the "
                    f"longest of {width}. Send fewer in one request.",
                )
            entries = [entry + [""] * (width - len(entry)) for entry in entries]
        shape.append(width)
        entries = [item for entry in entries for item in entry]
    if any(isinstance(entry, list) for entry in entries):
        raise _wrong_nesting(name, rank, value)
    return shape, entries


def _wrong_nesting(name: str, rank: int, value: Any) -> ServingError:
    nesting = ["one value and not a list", "a list"][rank] if rank < 2 else f"a list{' of lists' * (rank - 1)}"
    return invalid(f"Input '{name}' must be {nesting}. Received: {reprlib.repr(value)}.")


def _leaf(name: str, value: Any, dtype: tf.DType) -> Any:
    kind = type(value)  # not isinstance, for which a bool is an int
    if dtype == tf.string:
        if kind is str:
            return _utf8(name, value)
        if is_base64(value):
            return _decoded(name, value[BASE64_KEY])
    elif kind in ((int, float) if dtype.is_floating else (bool,) if dtype.is_bool else (int,)):
        if dtype.is_floating and math.isfinite(value) and math.isinf(_rounded(value, dtype)):
            raise OverflowError
        return value
    raise invalid(f"Input '{name}' must be {dtype.name}. Received: {reprlib.repr(value)}.")


def _rounded(value: float, dtype: tf.DType) -> float:
    # The decimal number for the largest value of a dtype may be slightly larger than the value.
    with np.errstate(over="ignore"):
        return float(dtype.as_numpy_dtype(value))


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise invalid(f"Input '{name}' contains half of a surrogate pair, which is not text.") from None


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"Input '{name}' has a 'b64' that is not base64. Received: {reprlib.repr(text)}.") from None


def _texts(value: Any, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_texts(entry, as_bytes) for entry in value]
    if not as_bytes:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return {BASE64_KEY: base64.b64encode(value).decode("ascii")}
