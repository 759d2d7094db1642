"""Load from other processes: each request counts once, whether it is answered or not."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.benchmark.load_generator import LoadRecord, generate_load
from laclrec_tf.errors import InputError


def request(name: str) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    return request.SerializeToString()


def test_answers_and_refusals_are_counted(hand_written):
    hand_written.answers[""] = {"scores": np.zeros([1, 1], np.float32)}
    hand_written.refusals = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3 + [grpc.StatusCode.UNAVAILABLE]
    started = []
    requests = [request(name) for name in "abcd"]
    record = generate_load(hand_written.target, requests, 3, 0.5, lambda: started.append(len(hand_written.requests)))
    assert started == [0], "the load begins after the call"
    assert record.errors == {"RESOURCE_EXHAUSTED": 3, "UNAVAILABLE": 1}
    assert len(record.latencies) + 4 == len(hand_written.requests)
    assert {(status, details) for _, status, details in record.failures} == {
        ("RESOURCE_EXHAUSTED", "not now"),
        ("UNAVAILABLE", "not now"),
    }
    assert {sent.model_spec.name for sent in hand_written.requests} == set("abcd")
    assert record.seconds >= 0.5
    assert min(record.latencies) > 0


def test_percentiles_in_milliseconds():
    record = LoadRecord([number / 1000 for number in range(1, 102)])
    assert record.percentiles() == {"p50": 51.0, "p90": 91.0, "p99": 100.0, "max": 101.0}
    assert LoadRecord().percentiles() == {}


def test_no_server_at_the_address(monkeypatch):
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    with pytest.raises(InputError, match="No server answers at 127.0.0.1:1. Give the HOST:PORT"):
        generate_load("127.0.0.1:1", [request("a")], 1, 0.1, connect_seconds=0.5)
