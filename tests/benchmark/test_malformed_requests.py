"""Requests that no client should send: of every kind, the same for the same seed, and as broken as they say."""

from __future__ import annotations

from collections import Counter

import grpc
import pytest
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.benchmark.malformed_kinds import KINDS
from laclrec_tf.benchmark.malformed_requests import MalformedRequest, malformed_requests

ITEMS = ["tent", "zelt-groß", "mug"]
UNREADABLE = {"truncated proto", "random bytes"}


@pytest.fixture(scope="module")
def drawn() -> list[MalformedRequest]:
    return list(malformed_requests(len(KINDS) * 40, "shop", ITEMS, seed=3))


def test_every_kind_comes_as_often(drawn):
    assert Counter(request.kind for request in drawn) == dict.fromkeys(KINDS, 40)
    first = [request.kind for request in drawn[: len(KINDS)]]
    assert sorted(first) == sorted(KINDS)
    assert first != sorted(first)


def test_the_seed_decides(drawn):
    assert list(malformed_requests(200, "shop", ITEMS, seed=3)) == drawn[:200]
    assert list(malformed_requests(200, "shop", ITEMS, seed=4)) != drawn[:200]


def test_expected_statuses_exist(drawn):
    names = {code.name for code in grpc.StatusCode}
    assert all(request.expected and request.expected <= names for request in drawn)


def test_only_what_should_be_unreadable_is(drawn):
    for request in drawn:
        if request.kind in UNREADABLE:
            with pytest.raises(DecodeError):
                predict_pb2.PredictRequest.FromString(request.payload)
        else:
            predict_pb2.PredictRequest.FromString(request.payload)


def test_few_bytes_ask_for_much(drawn):
    assert max(len(request.payload) for request in drawn) < 1000


def test_kinds_differ_within(drawn):
    """Every kind with something to draw gives different requests."""
    payloads = {kind: {request.payload for request in drawn if request.kind == kind} for kind in KINDS}
    assert [kind for kind, found in payloads.items() if len(found) == 1] == ["empty request"]
