"""Bodies are decompressed piece by piece, outside of the event loop, and their memory is counted before it is taken."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import tracemalloc
import zlib
from functools import partial

import pytest
from starlette.testclient import TestClient

from laclrec_tf.serving.rest import bodies
from laclrec_tf.serving.rest.app import rest_app
from laclrec_tf.serving.rest.bodies import HeldBodies, decompressed
from laclrec_tf.serving.rest.status import RestError

MIB = 2**20


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000, 12345])
def test_all_pieces_are_the_body(monkeypatch, size):
    monkeypatch.setattr(bodies, "PIECE_BYTES", 100)
    for content in (os.urandom(size), bytes(size)):
        held = HeldBodies(10**6)
        with held.of_request() as body:
            assert decompressed(bytearray(gzip.compress(content)), "gzip", size, body.hold) == content
            assert held.held == size
        assert held.held == 0


def test_memory_is_counted_before_it_is_taken():
    packed = bytearray(gzip.compress(bytes(64 * MIB)))
    held = HeldBodies(2 * MIB)
    tracemalloc.start()
    with held.of_request() as body:
        with pytest.raises(RestError) as refused:
            decompressed(packed, "gzip", 64 * MIB, body.hold)
        assert refused.value.http_status == 429
        assert held.held == 0  # others need not wait for the end of the request
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB


def test_the_largest_body_that_is_arriving_gives_way_to_smaller_ones():
    held, refused = HeldBodies(100), []
    with held.of_request() as complete, held.of_request() as large, held.of_request() as small:
        for body, n_bytes in ((large, 30), (small, 15), (complete, 50)):
            body.refuse = partial(refused.append, body)
            body.hold(n_bytes)
        complete.arrived()
        with held.of_request() as new:
            with pytest.raises(RestError):
                new.hold(30)  # no larger body is arriving
            assert held.held == 95 and not refused
            new.hold(10)
            assert refused == [large] and held.held == 75
        for refusal in (partial(large.hold, 1), large.arrived):
            with pytest.raises(RestError, match="too much memory"):
                refusal()
    assert held.held == 0


def test_a_body_is_decompressed_outside_of_the_event_loop(api, monkeypatch):
    in_loop, decompressor = [], zlib.decompressobj

    def watched(*args, **kwargs):
        in_loop.append(asyncio._get_running_loop() is not None)
        return decompressor(*args, **kwargs)

    monkeypatch.setattr(zlib, "decompressobj", watched)
    packed = gzip.compress(json.dumps({"instances": [["007"]]}).encode())
    answer = TestClient(rest_app(api)).post(
        "/v1/models/shop:predict", content=packed, headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 200 and in_loop == [False]
