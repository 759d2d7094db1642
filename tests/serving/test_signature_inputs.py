"""Inputs that fit, inputs that are filled in, inputs that are refused."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import SignatureInputs

HISTORY = np.array([[b"a", b"b"]], object)


@pytest.fixture
def inputs() -> SignatureInputs:
    definition = meta_graph_pb2.SignatureDef()
    for name, shape, dtype in (("history", [None, None], tf.string), ("k", [], tf.int32), ("extra", None, tf.float32)):
        definition.inputs[name].dtype = dtype.as_datatype_enum
        definition.inputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    definition.defaults["k"].CopyFrom(tf.make_tensor_proto(7))
    definition.defaults["extra"].CopyFrom(tf.make_tensor_proto([[0.5]]))
    return SignatureInputs("retrieve", definition)


def test_defaults_are_filled_in(inputs):
    complete = inputs.complete({"history": HISTORY})
    assert list(complete) == list(inputs.specs)
    assert complete["history"] is HISTORY
    assert complete["k"].item() == 7 and complete["k"].dtype == np.int32
    assert complete["extra"].tolist() == [[0.5]]


def test_what_is_given_goes_over_defaults(inputs):
    complete = inputs.complete({"history": HISTORY, "k": np.array(2, np.int32), "extra": np.zeros(3, np.float32)})
    assert complete["k"].item() == 2 and complete["extra"].shape == (3,)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "takes the inputs extra, history, k. Missing: history. Superfluous: none."),
        ({"history": HISTORY, "b": HISTORY, "a": HISTORY}, "Missing: none. Superfluous: a, b."),
        ({"history": HISTORY[0]}, "'history' of signature 'retrieve' must be string of shape [any, any]. Received: "),
        ({"history": HISTORY, "k": np.array(1)}, "must be int32 of shape []. Received: int64 of shape []."),
        ({"history": HISTORY, "extra": np.zeros(3)}, "must be float32 of any shape. Received: float64 of shape [3]."),
    ],
)
def test_what_does_not_fit(inputs, given, text):
    with pytest.raises(ServingError) as caught:
        inputs.complete(given)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in caught.value.message
