"""Tensors of requests: complete, abbreviated, and malformed."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.prediction import VALUE_FIELDS, read_input, write_output


def proto_of(dtype: int, shape: list[int], **values) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def written(array: np.ndarray) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto()
    write_output(array, proto)
    return proto


@pytest.mark.parametrize("kind", [*sorted(VALUE_FIELDS, key=str), tf.uint8], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_what_is_written_is_read(kind, shape):
    if kind is tf.string:
        array = np.full(shape, b"a\xff", object)
    else:
        array = np.arange(np.prod(shape)).reshape(shape).astype(kind.as_numpy_dtype)
    np.testing.assert_array_equal(tf.make_ndarray(written(array)), array)
    for proto in (written(array), tf.make_tensor_proto(array, kind)):
        read = read_input("x", proto)
        assert read.dtype == array.dtype and read.shape == array.shape
        assert read.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (proto_of(7, [1, 3], string_val=[b"a", b"b"]), [[b"a", b"b", b"b"]]),
        (proto_of(7, [2]), [b"", b""]),
        (proto_of(3, [3], int_val=[4]), [4, 4, 4]),
        (proto_of(10, [2]), [False, False]),
        (proto_of(7, [0, 3]), []),
        # length 1 and length 2, then the strings: what TensorFlow packs strings into
        (proto_of(7, [2], tensor_content=b"\x01\x02abc"), [b"a", b"bc"]),
        (proto_of(4, [2], tensor_content=b"\x07\x08"), [7, 8]),
    ],
)
def test_what_is_left_out_is_filled_in_as_tensorflow_does(proto, values):
    assert read_input("x", proto).tolist() == values


dimensions = st.lists(st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**62, -(2**63)])), max_size=4)


@given(
    dtype=st.integers(0, 130),
    shape=dimensions,
    strings=st.lists(st.binary(max_size=3), max_size=5),
    integers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    content=st.binary(max_size=12),
)
def test_nonsense_is_read_or_refused(dtype, shape, strings, integers, content):
    proto = proto_of(dtype, shape, string_val=strings, int_val=integers, tensor_content=content)
    try:
        array = read_input("x", proto)
    except ServingError as error:
        assert error.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert error.message.startswith("Input 'x' ")
    else:
        assert list(array.shape) == shape
