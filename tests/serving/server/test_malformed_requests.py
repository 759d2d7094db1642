"""Malformed requests, drawn with a seed and sent to a real server: each must get one of its right statuses."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from laclrec_tf.item_vocabulary import ItemVocabulary

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUESTS_OF_A_KIND = 12
FLOAT, INT32, STRING, INT64, BOOL = 1, 3, 7, 9, 10
# Half, complex, quantised, resources, variants, references: nothing a retriever takes.
EXOTIC_DTYPES = (4, 5, 6, 8, 11, 14, 18, 19, 20, 21, 22, 23, 103, 107)
NO_DTYPES = (-1, 0, 99, 200, 2**31 - 1)
INVALID = frozenset({"INVALID_ARGUMENT"})
NOT_FOUND = frozenset({"NOT_FOUND"})
OK = frozenset({"OK"})
TOO_LARGE = frozenset({"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"})
NO_PROTO = frozenset({"INTERNAL", "INVALID_ARGUMENT"})  # gRPC's own answer to what it cannot parse is INTERNAL


def tensor(dtype: int, shape: Sequence[int], **values: Any) -> Any:
    """Write a `TensorProto`, whether its parts fit or not."""
    proto = TensorProto(dtype=dtype, **values)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


class RequestDraw:
    """Draws well-formed requests for the model "shop", of which a caller may replace any part."""

    def __init__(self, seed: int, items: Sequence[str]) -> None:
        self.random = random.Random(seed)
        self.items = list(items)

    def history(self, length: int | None = None) -> list[bytes]:
        """Draw items; 1 to 8 when no length is given."""
        length = self.random.randint(1, 8) if length is None else length
        return [self.random.choice(self.items).encode() for _ in range(length)]

    def request(self, signature: str | None = None, history: Any = None, **inputs: Any) -> Any:
        """Make a request that is right except for what the caller gives."""
        signature = self.random.choice(("", "serving_default", "retrieve")) if signature is None else signature
        request = PredictRequest()
        request.model_spec.name = "shop"
        request.model_spec.signature_name = signature
        if history is None:
            items = self.history()
            history = tensor(STRING, [1, len(items)], string_val=items)
        inputs = {"history": history} | inputs
        if signature == "retrieve":
            inputs = {"k": tensor(INT32, [], int_val=[5]), "exclude": tensor(STRING, [1, 0])} | inputs
        for name, proto in inputs.items():
            request.inputs[name].CopyFrom(proto)
        return request


def _wrong_dtype_of_history(draw: RequestDraw) -> Any:
    values: dict[int, dict[str, list[Any]]] = {
        FLOAT: {"float_val": [1.5, 2.5]},
        INT32: {"int_val": [1, 2]},
        INT64: {"int64_val": [1, 2]},
        BOOL: {"bool_val": [True, False]},
    }
    dtype = draw.random.choice(sorted(values))
    return draw.request(history=tensor(dtype, [1, 2], **values[dtype]))


def _exotic_dtype(draw: RequestDraw) -> Any:
    return draw.request(history=tensor(draw.random.choice(EXOTIC_DTYPES), [1, 1]))


def _unknown_dtype(draw: RequestDraw) -> Any:
    return draw.request(history=tensor(draw.random.choice(NO_DTYPES), [1, 1], string_val=draw.history(1)))


def _wrong_rank_of_history(draw: RequestDraw) -> Any:
    items = draw.history()
    shape = draw.random.choice(([], [len(items)], [1, len(items), 1], [1] * 5 + [len(items)]))
    return draw.request(history=tensor(STRING, shape, string_val=items if shape else items[:1]))


def _unknown_rank(draw: RequestDraw) -> Any:
    history = TensorProto(dtype=STRING, string_val=draw.history())
    history.tensor_shape.unknown_rank = True
    return draw.request(history=history)


def _negative_dimension(draw: RequestDraw) -> Any:
    shape = draw.random.choice(([1, -1], [-1, 1], [-1, -1], [1, -(2**63)], [-7, 2]))
    return draw.request(history=tensor(STRING, shape, string_val=draw.history(1)))


def _huge_dimensions(draw: RequestDraw) -> Any:
    huge = 2 ** draw.random.randint(31, 62)
    shape = draw.random.choice(([1, huge], [huge, 1], [huge, huge], [2**32, 2**32]))
    return draw.request(history=tensor(STRING, shape, string_val=draw.history(1)))


def _too_few_values(draw: RequestDraw) -> Any:
    items = draw.history()
    return draw.request(history=tensor(STRING, [1, len(items) + draw.random.randint(1, 4)], string_val=items))


def _too_many_values(draw: RequestDraw) -> Any:
    items = draw.history()
    return draw.request(history=tensor(STRING, [1, len(items) - 1], string_val=items))


def _content_of_another_size(draw: RequestDraw) -> Any:
    size = draw.random.choice((1, 2, 3, 5, 9))
    if draw.random.random() < 0.5:
        return draw.request("retrieve", k=tensor(INT32, [], tensor_content=draw.random.randbytes(size)))
    # A string's content begins with its length: one byte more than follows.
    content = bytes([size]) + draw.random.randbytes(size - 1)
    return draw.request(history=tensor(STRING, [1, 1], tensor_content=content))


def _invalid_utf8(draw: RequestDraw) -> Any:
    items = [draw.random.choice((b"\xff", b"\xc3\x28", b"\x80", b"\xed\xa0\x80")) + item for item in draw.history()]
    return draw.request(history=tensor(STRING, [1, len(items)], string_val=items))


def _wrong_dtype_of_k(draw: RequestDraw) -> Any:
    k = draw.random.choice(
        (
            tensor(FLOAT, [], float_val=[3.0]),
            tensor(INT64, [], int64_val=[3]),
            tensor(STRING, [], string_val=[b"3"]),
            tensor(BOOL, [], bool_val=[True]),
        )
    )
    return draw.request("retrieve", k=k)


def _wrong_shape_of_k(draw: RequestDraw) -> Any:
    shape = draw.random.choice(([2], [1, 1], [0], [3, 1]))
    return draw.request("retrieve", k=tensor(INT32, shape, int_val=[3] if 0 not in shape else []))


def _huge_k(draw: RequestDraw) -> Any:
    k = draw.random.choice((2**31 - 1, draw.random.randint(10**6, 2**31 - 1)))
    return draw.request("retrieve", k=tensor(INT32, [], int_val=[k]))


def _k_below_one(draw: RequestDraw) -> Any:
    k = draw.random.choice((0, -1, -(2**31), draw.random.randint(-1000, 0)))
    return draw.request("retrieve", k=tensor(INT32, [], int_val=[k]))


def _rows_of_exclude(draw: RequestDraw) -> Any:
    rows = draw.random.randint(2, 5)
    return draw.request("retrieve", exclude=tensor(STRING, [rows, 1], string_val=draw.history(1)))


def _missing_history(draw: RequestDraw) -> Any:
    request = draw.request()
    del request.inputs["history"]
    return request


def _superfluous_input(draw: RequestDraw) -> Any:
    name = draw.random.choice(("", "histories", "K", "history ", "\u0000"))
    return draw.request(**{name: tensor(INT32, [], int_val=[1])})


def _unknown_signature(draw: RequestDraw) -> Any:
    request = draw.request()
    request.model_spec.signature_name = draw.random.choice(("Retrieve", "no such one", "__call__", "é" * 100))
    return request


def _unknown_model(draw: RequestDraw) -> Any:
    request = draw.request()
    request.model_spec.name = draw.random.choice(("", "shop?", "../..", "é" * 100))
    return request


def _unknown_version(draw: RequestDraw) -> Any:
    request = draw.request()
    request.model_spec.version.value = draw.random.choice((-1, 2**62, -(2**63), 10**9))
    return request


def _unknown_label(draw: RequestDraw) -> Any:
    request = draw.request()
    request.model_spec.version_label = draw.random.choice(("no such label", "STABLE?", "1"))
    return request


def _unknown_output(draw: RequestDraw) -> Any:
    request = draw.request()
    request.output_filter.append(draw.random.choice(("", "score", "item_ids:0")))
    return request


def _no_model_spec(draw: RequestDraw) -> Any:
    request = draw.request()
    request.ClearField("model_spec")
    return request


def _truncated(draw: RequestDraw) -> bytes:
    while True:
        whole = draw.request().SerializeToString()
        part = whole[: draw.random.randint(1, len(whole) - 1)]
        if not _parses(part):
            return part


def _random_bytes(draw: RequestDraw) -> bytes:
    while True:
        noise = draw.random.randbytes(draw.random.randint(1, 300))
        if not _parses(noise):
            return noise


def _parses(payload: bytes) -> bool:
    try:
        PredictRequest.FromString(payload)
    except DecodeError:
        return False
    return True


KINDS: dict[str, tuple[Callable[[RequestDraw], Any], frozenset[str]]] = {
    "wrong dtype of history": (_wrong_dtype_of_history, INVALID),
    "exotic dtype": (_exotic_dtype, INVALID),
    "unknown dtype": (_unknown_dtype, INVALID),
    "wrong rank of history": (_wrong_rank_of_history, INVALID),
    "unknown rank": (_unknown_rank, INVALID),
    "negative dimension": (_negative_dimension, INVALID),
    "huge dimensions": (_huge_dimensions, TOO_LARGE),
    "too few values": (_too_few_values, OK),
    "too many values": (_too_many_values, INVALID),
    "content of another size": (_content_of_another_size, INVALID),
    "invalid UTF-8 in history": (_invalid_utf8, OK),
    "wrong dtype of k": (_wrong_dtype_of_k, INVALID),
    "wrong shape of k": (_wrong_shape_of_k, INVALID),
    "huge k": (_huge_k, frozenset({"OK", "RESOURCE_EXHAUSTED"})),
    "k below 1": (_k_below_one, INVALID),
    "wrong rows of exclude": (_rows_of_exclude, INVALID),
    "missing history": (_missing_history, INVALID),
    "superfluous input": (_superfluous_input, INVALID),
    "unknown signature": (_unknown_signature, frozenset({"INVALID_ARGUMENT", "FAILED_PRECONDITION"})),
    "unknown model": (_unknown_model, NOT_FOUND),
    "unknown version": (_unknown_version, NOT_FOUND),
    "unknown label": (_unknown_label, INVALID),
    "unknown output": (_unknown_output, INVALID),
    "no model_spec": (_no_model_spec, INVALID),
    "empty request": (lambda draw: b"", INVALID),
    "truncated proto": (_truncated, NO_PROTO),
    "random bytes": (_random_bytes, NO_PROTO),
    "unknown method": (lambda draw: draw.request(), frozenset({"UNIMPLEMENTED"})),
}


def drawn_requests(items: Sequence[str], seed: int) -> list[tuple[str, bytes]]:
    """Draw `(kind, payload)` of all kinds, each as often as the others, in a mixed order."""
    draw = RequestDraw(seed, items)
    requests = []
    for _ in range(REQUESTS_OF_A_KIND):
        for kind in draw.random.sample(sorted(KINDS), len(KINDS)):
            made = KINDS[kind][0](draw)
            requests.append((kind, made if isinstance(made, bytes) else made.SerializeToString()))
    return requests


@pytest.fixture(scope="module")
def drawn(vocabulary: ItemVocabulary) -> list[tuple[str, bytes]]:
    return drawn_requests(vocabulary.items, seed=5)


def test_each_malformed_request_gets_a_right_status_and_normal_ones_are_answered(drawn, target, vocabulary):
    normal = RequestDraw(0, vocabulary.items).request("retrieve").SerializeToString()
    wrong = []
    with grpc.insecure_channel(target) as channel:
        predict = channel.unary_unary(PREDICT)
        expected = predict(normal, timeout=30)
        for kind, payload in drawn:
            method = channel.unary_unary(f"{PREDICT}Nothing") if kind == "unknown method" else predict
            try:
                method(payload, timeout=30)
                status = "OK"
            except grpc.RpcError as error:
                status = error.code().name
            if status not in KINDS[kind][1]:
                wrong.append((kind, status, payload))
        assert predict(normal, timeout=30) == expected
    assert wrong == []


def test_requests_are_of_every_kind_and_as_malformed_as_the_kind_says(drawn, vocabulary):
    assert Counter(kind for kind, _ in drawn) == dict.fromkeys(KINDS, REQUESTS_OF_A_KIND)
    assert drawn_requests(vocabulary.items, seed=5) == drawn != drawn_requests(vocabulary.items, seed=6)
    assert {kind for kind, payload in drawn if not _parses(payload)} == {"truncated proto", "random bytes"}
    assert max(len(payload) for _, payload in drawn) < 1000, "few bytes ask for much"
    payloads = {kind: {payload for other, payload in drawn if other == kind} for kind in KINDS}
    assert [kind for kind, found in payloads.items() if len(found) == 1] == ["empty request"]
