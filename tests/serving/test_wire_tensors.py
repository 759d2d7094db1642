"""Tensors on the wire without TensorFlow, against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2

from laclrec_tf.serving.client.wire import DTYPES, TensorProto, array_to_tensor, tensor_to_array

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NUMBERS = [dtype for dtype, _ in DTYPES.values() if dtype.kind != "O"]
ARRAYS = st.one_of(
    st.sampled_from(NUMBERS).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)),
    arrays.arrays(object, SHAPES, elements=st.binary(max_size=5)),
)


def published(tensor) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto.FromString(tensor.SerializeToString())


def ours(tensor: tensor_pb2.TensorProto):
    return TensorProto.FromString(tensor.SerializeToString())


@given(ARRAYS)
def test_tensorflow_reads_what_is_written(array):
    read = tf.make_ndarray(published(array_to_tensor(array)))
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@given(ARRAYS)
def test_what_tensorflow_writes_is_read(array):
    dtype = tf.string if array.dtype == object else None
    read = tensor_to_array(ours(tf.make_tensor_proto(array, dtype)))
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_pb2.TensorProto(dtype=1, float_val=[1.5, 2.5]),
        tensor_pb2.TensorProto(dtype=7, string_val=[b"a"]),
        tensor_pb2.TensorProto(dtype=10),
        tensor_pb2.TensorProto(dtype=3, tensor_content=np.arange(6, dtype="<i4").tobytes()),
    ],
)
def test_fewer_values_and_packed_content_as_tensorflow_reads_them(tensor):
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)
    np.testing.assert_array_equal(tensor_to_array(ours(tensor)), tf.make_ndarray(tensor))


def test_what_cannot_be_read():
    with pytest.raises(ValueError, match="a tensor of dtype 8"):
        tensor_to_array(TensorProto(dtype=8))
    with pytest.raises(ValueError, match="reshape"):
        tensor_to_array(TensorProto(dtype=1, float_val=[1.0, 2.0]))
