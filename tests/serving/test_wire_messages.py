"""The messages described here are the published ones."""

from __future__ import annotations

import pytest
import tensorflow as tf
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.wrappers_pb2 import Int64Value
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from laclrec_tf.serving.client import wire

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
    from laclrec_tf.serving.client.wire import DTYPES

    for number, (dtype, field) in DTYPES.items():
        assert tf.as_dtype(number).as_numpy_dtype == dtype
        assert field in wire.FIELDS["TensorProto"]
