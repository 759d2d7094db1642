"""Requests that are right until somebody replaces a part."""

from __future__ import annotations

import random

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.benchmark.drawn_requests import INT32, STRING, RequestDraw, tensor


def drawn(seed: int = 0) -> RequestDraw:
    return RequestDraw(random.Random(seed), "shop", ["tent", "zelt-groß"])


def test_requests_are_well_formed_and_of_known_items():
    draw = drawn()
    for _ in range(50):
        request = predict_pb2.PredictRequest.FromString(draw.request().SerializeToString())
        assert request.model_spec.name == "shop"
        history = tf.make_ndarray(request.inputs["history"])
        assert history.shape[0] == 1 and 1 <= history.shape[1] <= 8
        assert {item.decode() for item in history.ravel()} <= {"tent", "zelt-groß"}
        more = {"k", "exclude"} if request.model_spec.signature_name == "retrieve" else set()
        assert set(request.inputs) == {"history"} | more


def test_a_part_may_be_anything():
    request = drawn().request("retrieve", history=tensor(STRING, [-1, 7]), k=tensor(INT32, [], int_val=[0]))
    assert [dim.size for dim in request.inputs["history"].tensor_shape.dim] == [-1, 7]
    assert list(request.inputs["k"].int_val) == [0]


def test_the_seed_decides():
    assert drawn(1).request() == drawn(1).request()
    assert drawn(1).history(20) != drawn(2).history(20)
