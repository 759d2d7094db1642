"""Arrays to tensors on the wire and back, without TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from laclrec_tf.serving.wire_messages import TensorProto

# Number of the dtype in TensorFlow's DataType -> NumPy's dtype and the field that holds the values.
DTYPES: dict[int, tuple[np.dtype, str]] = {
    1: (np.dtype(np.float32), "float_val"),
    2: (np.dtype(np.float64), "double_val"),
    3: (np.dtype(np.int32), "int_val"),
    7: (np.dtype(object), "string_val"),
    9: (np.dtype(np.int64), "int64_val"),
    10: (np.dtype(np.bool_), "bool_val"),
}
_NUMBER_OF = {dtype: number for number, (dtype, _) in DTYPES.items()}


def array_to_tensor(array: np.ndarray) -> Any:
    """Write an array, one value for each element.

    Args:
        array: any shape; strings as an object array of bytes; otherwise of a dtype in `DTYPES`.

    Returns:
        The `TensorProto`.

    Example:
        >>> array_to_tensor(np.array([[b"tent", b""]], object)).string_val
        [b'tent', b'']
    """
    number = _NUMBER_OF[array.dtype]
    tensor = TensorProto(dtype=number)
    tensor.tensor_shape.SetInParent()  # a scalar's shape is there, too: it has no dimensions
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    getattr(tensor, DTYPES[number][1]).extend(array.ravel().tolist())
    return tensor


def tensor_to_array(tensor: Any) -> np.ndarray:
    """Read a tensor that a server sent.

    As everywhere in TensorFlow, fewer values than elements mean that the last value is repeated.

    Args:
        tensor: a `TensorProto`, with values or with `tensor_content`.

    Returns:
        The array; strings are bytes in an object array.

    Raises:
        ValueError: the dtype is none of `DTYPES`, or values and shape do not fit.

    Example:
        >>> tensor_to_array(array_to_tensor(np.array([[1.5], [2.5]], np.float32))).tolist()
        [[1.5], [2.5]]
    """
    if tensor.dtype not in DTYPES:
        raise ValueError(f"a tensor of dtype {tensor.dtype}")
    dtype, field = DTYPES[tensor.dtype]
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    holds_strings = field == "string_val"
    if tensor.tensor_content and not holds_strings:
        return np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    values = np.array(getattr(tensor, field), dtype)
    n_missing = math.prod(shape) - len(values)
    if n_missing > 0:
        filler = values[-1] if len(values) else (b"" if holds_strings else 0)
        values = np.concatenate([values, np.full(n_missing, filler, dtype)])
    return values.reshape(shape)
