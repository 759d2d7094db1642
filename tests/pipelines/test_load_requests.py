"""Requests for a load test: known items, the lengths a model reads, the same for the same seed."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.benchmark.load import DIFFERENT_REQUESTS, load_requests
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.client.connection import ModelEndpoint
from laclrec_tf.serving.version.metadata import ServedItems

ITEMS = ServedItems(ItemVocabulary(["tent", "zelt-groß", "mug"]), max_length=4)
ENDPOINT = ModelEndpoint("127.0.0.1:8500", "shop")


def read(requests: list[bytes]) -> list[predict_pb2.PredictRequest]:
    return [predict_pb2.PredictRequest.FromString(request) for request in requests]


def test_histories_are_of_known_items():
    lengths, items = set(), set()
    for request in read(load_requests(ITEMS, ENDPOINT, "serving_default", rows=1, k=10, seed=0)):
        assert (request.model_spec.name, request.model_spec.signature_name) == ("shop", "serving_default")
        assert list(request.inputs) == ["history"]
        (history,) = tf.make_ndarray(request.inputs["history"]).tolist()
        lengths.add(len(history))
        items |= {item.decode() for item in history}
    assert lengths == {1, 2, 3, 4}
    assert items == set(ITEMS.vocabulary)


def test_retrieve_has_a_k_and_rows():
    requests = read(load_requests(ITEMS, ENDPOINT, "retrieve", rows=5, k=7, seed=0))
    assert len(requests) == DIFFERENT_REQUESTS
    inputs = {name: tf.make_ndarray(proto) for name, proto in requests[0].inputs.items()}
    assert inputs["history"].shape[0] == 5
    assert (inputs["k"].item(), inputs["k"].dtype) == (7, "int32")
    assert inputs["exclude"].shape == (1, 0)


def test_the_seed_decides():
    first, again, other = (load_requests(ITEMS, ENDPOINT, "retrieve", 2, 10, seed) for seed in (1, 1, 2))
    assert first == again != other
