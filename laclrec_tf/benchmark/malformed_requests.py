"""Requests that no client should send, drawn with a seed, and the statuses that each may be answered with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from laclrec_tf.benchmark.drawn_requests import RequestDraw
from laclrec_tf.benchmark.malformed_kinds import KINDS
from laclrec_tf.serving.client.wire import PREDICT

UNKNOWN_METHOD = f"{PREDICT}Nothing"


@dataclass(frozen=True)
class MalformedRequest:
    """One request and what may come back.

    Args:
        kind: what is wrong with it.
        payload: the bytes to send.
        expected: the names of the gRPC statuses that are right.
        method: the gRPC method to send it to. Default: `Predict`.
    """

    kind: str
    payload: bytes
    expected: frozenset[str]
    method: str = PREDICT


def malformed_requests(count: int, model_name: str, items: Sequence[str], seed: int = 0) -> Iterator[MalformedRequest]:
    """Draw requests of all kinds, each kind as often as the others, in a mixed order.

    Two kinds look malformed and are none: a history in invalid UTF-8 holds unknown items, and fewer values than
    elements mean that the last one is repeated. Both are answered with OK.

    Args:
        count: how many.
        model_name: the model's name on the server.
        items: items that the model knows.
        seed: the same seed gives the same requests. Default: 0.

    Yields:
        The requests.

    Example:
        >>> {request.kind for request in malformed_requests(len(KINDS), "shop", ["tent"])} == set(KINDS)
        True
    """
    draw = RequestDraw(random.Random(seed), model_name, list(items))
    kinds: list[str] = []
    for _ in range(count):
        if not kinds:
            kinds = draw.random.sample(sorted(KINDS), len(KINDS))
        kind = kinds.pop()
        make, expected = KINDS[kind]
        made = make(draw)
        payload = made if isinstance(made, bytes) else made.SerializeToString()
        method = UNKNOWN_METHOD if kind == "unknown method" else PREDICT
        yield MalformedRequest(kind, payload, expected, method)
