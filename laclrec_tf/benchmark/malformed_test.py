"""Malformed requests sent to a server: is each answered with a right status, and is the server as fast afterwards?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import grpc

from laclrec_tf.benchmark.load_generator import CALL_SECONDS, LoadRecord, raw_channel
from laclrec_tf.benchmark.malformed_requests import MalformedRequest
from laclrec_tf.serving.client.wire import PREDICT

NORMAL_REQUESTS = 300
KEPT_EXAMPLES = 3


def malformed_test(target: str, malformed: Iterable[MalformedRequest], normal: Sequence[bytes]) -> dict[str, Any]:
    """Send malformed requests one after the other, and normal ones before and after.

    Args:
        target: the server, `HOST:PORT`.
        malformed: the requests.
        normal: serialised `PredictRequest`s that must be answered.

    Returns:
        `kinds`: for each kind `right` and `wrong`, how many were answered with a right and a wrong status,
        `statuses`, how many with each, and `examples` of wrong ones. `wrong`: their number over all kinds.
        `before` and `after`: `latency_ms` and `errors` of 300 normal requests.
    """
    with raw_channel(target) as channel:
        _normal(channel, normal)  # not counted: the first answers of a server that just started are slower
        before = _normal(channel, normal)
        kinds: dict[str, dict[str, Any]] = {}
        for request in malformed:
            status, details = _status(channel, request)
            kind = kinds.setdefault(request.kind, {"right": 0, "wrong": 0, "statuses": Counter(), "examples": []})
            kind["statuses"][status] += 1
            if status in request.expected:
                kind["right"] += 1
                continue
            kind["wrong"] += 1
            if len(kind["examples"]) < KEPT_EXAMPLES:
                kind["examples"].append(f"{status}: {details}")
        after = _normal(channel, normal)
    return {
        "wrong": sum(kind["wrong"] for kind in kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "before": before,
        "after": after,
    }


def _status(channel: grpc.Channel, request: MalformedRequest) -> tuple[str, str]:
    try:
        channel.unary_unary(request.method)(request.payload, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        return error.code().name, " ".join(str(error.details()).split())
    return "OK", ""


def _normal(channel: grpc.Channel, requests: Sequence[bytes]) -> dict[str, Any]:
    record, send = LoadRecord(), channel.unary_unary(PREDICT)
    for number in range(NORMAL_REQUESTS):
        sent = time.perf_counter()
        try:
            send(requests[number % len(requests)], timeout=CALL_SECONDS)
            record.latencies.append(time.perf_counter() - sent)
        except grpc.RpcError as error:
            record.errors[error.code().name] += 1
    return {"latency_ms": record.percentiles(), "errors": dict(record.errors)}
