"""Messages and tensors are the published ones, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.wrappers_pb2 import Int64Value
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from laclrec_tf.serving.client import wire
from laclrec_tf.serving.client.wire import DTYPES, TensorProto, read_array, write_array

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NUMBERS = [dtype for dtype, _ in DTYPES.values() if dtype.kind != "O"]
ARRAYS = st.one_of(
    st.sampled_from(NUMBERS).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)),
    arrays.arrays(object, SHAPES, elements=st.binary(max_size=5)),
)
PUBLISHED = {
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "TensorShapeProto": tensor_shape_pb2.TensorShapeProto,
    "TensorProto": tensor_pb2.TensorProto,
    "Int64Value": Int64Value,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
}


def published(tensor) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto.FromString(tensor.SerializeToString())


def ours(tensor: tensor_pb2.TensorProto):
    return TensorProto.FromString(tensor.SerializeToString())


@given(ARRAYS)
def test_tensorflow_reads_what_is_written(array):
    tensor = TensorProto()
    write_array(array, tensor)
    read = tf.make_ndarray(published(tensor))
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@given(ARRAYS)
def test_what_tensorflow_writes_is_read(array):
    dtype = tf.string if array.dtype == object else None
    read = read_array(ours(tf.make_tensor_proto(array, dtype)))
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
    np.testing.assert_array_equal(read_array(ours(tensor)), tf.make_ndarray(tensor))


def test_what_cannot_be_read():
    with pytest.raises(ValueError, match="a tensor of dtype 8"):
        read_array(TensorProto(dtype=8))
    with pytest.raises(ValueError, match="reshape"):
        read_array(TensorProto(dtype=1, float_val=[1.0, 2.0]))


def on_the_wire(field: FieldDescriptor) -> tuple[int, int, bool, str | None]:
    """Return number, type, repeated or not, and the message; an enum travels as an int32."""
    kind = FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
    return field.number, kind, field.is_repeated, field.message_type.name if field.message_type else None


@pytest.mark.parametrize("name", wire.FIELDS)
def test_fields_are_the_published_ones(name):
    ours, published = wire._CLASSES[name].DESCRIPTOR, PUBLISHED[name].DESCRIPTOR
    for field in ours.fields:
        assert on_the_wire(field) == on_the_wire(published.fields_by_name[field.name]), field.name


def test_a_request_is_read_by_the_published_class_and_back():
    ours = wire.PredictRequest(output_filter=["scores"])
    ours.model_spec.name, ours.model_spec.version.value, ours.model_spec.signature_name = "shop", 0, "rank"
    ours.inputs["k"].dtype = 3
    ours.inputs["k"].int_val.append(-7)
    published = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    expected = predict_pb2.PredictRequest(output_filter=["scores"])
    expected.model_spec.name, expected.model_spec.signature_name = "shop", "rank"
    expected.model_spec.version.value = 0
    expected.inputs["k"].CopyFrom(tensor_pb2.TensorProto(dtype=3, int_val=[-7]))
    assert published == expected
    assert wire.PredictRequest.FromString(expected.SerializeToString()) == ours


def test_states_and_methods_are_the_published_ones():
    names = {number: name for name, number in get_model_status_pb2.ModelVersionStatus.State.items()}
    assert names == wire.STATES
    for path, file in (
        (wire.PREDICT, prediction_service_pb2),
        (wire.GET_MODEL_STATUS, model_service_pb2),
    ):
        _, service, method = path.split("/")
        assert method in file.DESCRIPTOR.services_by_name[service.split(".")[-1]].methods_by_name
        assert service == f"{file.DESCRIPTOR.package}.{service.split('.')[-1]}"


def test_dtypes_are_tensorflows():
    for number, (dtype, field) in DTYPES.items():
        assert tf.as_dtype(number).as_numpy_dtype == dtype
        assert field in wire.FIELDS["TensorProto"]
