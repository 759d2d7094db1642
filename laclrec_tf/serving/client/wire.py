"""TensorFlow Serving's messages and tensors on the wire, without TensorFlow.

The stubs of `tensorflow-serving-api` import TensorFlow and Keras, which costs a client seconds and hundreds of
megabytes. The bytes on the wire depend only on field numbers and types, so this module declares the messages that a
client needs. They are in their own descriptor pool, so that they do not clash with the published ones; a test compares
them field by field.

Source: https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis and
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/tensor.proto
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FieldProto = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "laclrec_tf.wire"
# message -> field -> (number, type). Enums are int32 here: the bytes are the same.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Dim": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "repeated Dim"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
    },
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "map TensorProto"),
        "output_filter": (3, "repeated string"),
    },
    "PredictResponse": {"outputs": (1, "map TensorProto"), "model_spec": (2, "ModelSpec")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "ModelVersionStatus": {"version": (1, "int64"), "state": (2, "int32")},
    "GetModelStatusResponse": {"model_version_status": (1, "repeated ModelVersionStatus")},
}
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
# Number of the dtype in TensorFlow's DataType -> NumPy dtype and name of the field with the values.
DTYPES: dict[int, tuple[np.dtype, str]] = {
    1: (np.dtype(np.float32), "float_val"),
    2: (np.dtype(np.float64), "double_val"),
    3: (np.dtype(np.int32), "int_val"),
    7: (np.dtype(object), "string_val"),
    9: (np.dtype(np.int64), "int64_val"),
    10: (np.dtype(np.bool_), "bool_val"),
}
_NUMBER_OF = {dtype: number for number, (dtype, _) in DTYPES.items()}


def write_array(array: np.ndarray, tensor: Any) -> None:
    """Write an array into an empty tensor as TensorFlow Serving does: one value for each element.

    Args:
        array: any shape; strings are an object array of bytes, other dtypes must be in `DTYPES`.
        tensor: the `TensorProto` to write to, of this module or the published one.

    Example:
        >>> tensor = TensorProto()
        >>> write_array(np.array([[b"tent", b""]], object), tensor)
        >>> tensor.string_val
        [b'tent', b'']
    """
    tensor.dtype = _NUMBER_OF[array.dtype]
    tensor.tensor_shape.SetInParent()  # a scalar has a shape without dimensions
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    getattr(tensor, DTYPES[tensor.dtype][1]).extend(array.ravel().tolist())


def read_array(tensor: Any) -> np.ndarray:
    """Read a tensor.

    As everywhere in TensorFlow, when there are fewer values than elements, the last value is repeated.

    Args:
        tensor: a `TensorProto` of this module or the published one, with values or with `tensor_content`; strings must
            be values.

    Returns:
        The array; strings are bytes in an object array.

    Raises:
        ValueError: the dtype is not in `DTYPES`, or the values do not fit the shape.

    Example:
        >>> tensor = TensorProto(dtype=1, float_val=[1.5, 2.5])
        >>> _ = tensor.tensor_shape.dim.add(size=2)
        >>> read_array(tensor).tolist()
        [1.5, 2.5]
    """
    if tensor.dtype not in DTYPES:
        raise ValueError(f"a tensor of dtype {tensor.dtype}")
    dtype, field = DTYPES[tensor.dtype]
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    holds_strings = field == "string_val"
    if tensor.tensor_content and not holds_strings:
        return np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    values = np.array(getattr(tensor, field), dtype)
    n_missing = math.prod(shape) - len(values)
    if n_missing > 0:
        filler = values[-1] if len(values) else (b"" if holds_strings else 0)
        values = np.concatenate([values, np.full(n_missing, filler, dtype)])
    return values.reshape(shape)


def _add_message(messages: Any, name: str, fields: dict[str, tuple[int, str]]) -> None:
    message = messages.add(name=name)
    for field, (number, kind) in fields.items():
        shape, _, element = kind.rpartition(" ")
        if shape == "map":  # a map is a repeated message of a key and a value
            entry = f"{field.capitalize()}Entry"
            _add_message(message.nested_type, entry, {"key": (1, "string"), "value": (2, element)})
            message.nested_type[-1].options.map_entry = True
            element = f"{name}.{entry}"
        added = message.field.add(name=field, number=number)
        added.label = _FieldProto.LABEL_REPEATED if shape else _FieldProto.LABEL_OPTIONAL
        if element[0].islower():
            added.type = getattr(_FieldProto, f"TYPE_{element.upper()}")
        else:
            added.type, added.type_name = _FieldProto.TYPE_MESSAGE, f".{_PACKAGE}.{element}"


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="wire_messages.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in FIELDS.items():
        _add_message(file.message_type, name, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in FIELDS}


_CLASSES = _message_classes()
TensorProto: Any = _CLASSES["TensorProto"]
PredictRequest: Any = _CLASSES["PredictRequest"]
PredictResponse: Any = _CLASSES["PredictResponse"]
GetModelStatusRequest: Any = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse: Any = _CLASSES["GetModelStatusResponse"]
