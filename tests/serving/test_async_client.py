"""The twin on asyncio: the same answers and errors as the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving import AsyncRetrievalClient, RetrievalClient

SLOTS = {
    "item_ids": [["tent", "mug"]],
    "scores": np.array([[2.0, 1.0]], np.float32),
    "filled": np.array([2], np.int32),
}
UNKNOWN = {"unknown": np.array([1], np.int32)}
ANSWERS = {
    "retrieve": SLOTS | UNKNOWN,
    "similar_items": SLOTS | {"known": np.array([True])},
    "embed_history": UNKNOWN | {"user_vectors": np.ones([1, 2], np.float32)},
    "embed_items": {"item_vectors": np.ones([1, 2], np.float32), "known": np.array([True])},
    "rank": UNKNOWN | {"scores": np.array([[1.0, 3.0]], np.float32)},
    "augment": UNKNOWN
    | {
        "history": [["tent"]],
        "operations": [["keep"]],
        "probabilities": np.array([[[0.5, 0.25, 0.25]]], np.float32),
        "inserted": [[[""]]],
        "edited_history": [["tent"]],
    },
}
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "retrieve": lambda client: client.recommend(
        ["a"], k=2, exclude=["b"], allow=["tent", "mug"], exclude_history=False
    ),
    "similar_items": lambda client: client.similar_items(["a"], k=2),
    "embed_history": lambda client: client.embed_history(["a"]),
    "embed_items": lambda client: client.embed_items(["a"]),
    "rank": lambda client: client.rank(["a"], ["tent", "mug"]),
    "augment": lambda client: client.augment(["a", "tent"]),
}


def run(target: str, question: Callable[[AsyncRetrievalClient], Awaitable[Any]], **settings: Any) -> Any:
    async def ask() -> Any:
        async with AsyncRetrievalClient(target, "shop", **settings) as client:
            return await question(client)

    return asyncio.run(ask())


@pytest.mark.parametrize("signature", QUESTIONS)
def test_requests_and_answers_are_the_clients(hand_written, signature):
    hand_written.answers = ANSWERS
    with RetrievalClient(hand_written.target, "shop", version=3) as client:
        expected = QUESTIONS[signature](client)
    answer = run(hand_written.target, QUESTIONS[signature], version=3)
    theirs, ours = hand_written.requests
    assert ours == theirs
    assert ours.model_spec.signature_name == signature
    if hasattr(expected, "vectors"):
        np.testing.assert_array_equal(answer.vectors, expected.vectors)
    else:
        assert answer == expected


def test_the_real_server(target, client):
    assert run(target, lambda asynchronous: asynchronous.status(), timeout=30) == client.status()


def test_many_tasks_share_a_client(hand_written):
    hand_written.answers = ANSWERS

    async def all_at_once(client: AsyncRetrievalClient) -> list:
        return await asyncio.gather(*(client.recommend(["a"], k=2) for _ in range(20)))

    answers = run(hand_written.target, all_at_once, timeout=30)
    assert [answer.item_ids for (answer,) in answers] == [("tent", "mug")] * 20


def test_what_was_unavailable_is_asked_again_and_nothing_else(hand_written):
    hand_written.answers = ANSWERS
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
    with pytest.raises(InputError, match=r"shop: not now \(INTERNAL\). This is the server's fault") as caught:
        run(hand_written.target, QUESTIONS["rank"])
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(hand_written.requests) == 2


def test_no_server():
    with pytest.raises(InputError, match=r"127.0.0.1:1, model shop: .*\(UNAVAILABLE\). Start a server"):
        run("127.0.0.1:1", QUESTIONS["retrieve"], retries=1)


def test_wrong_arguments_are_refused_before_asking():
    with pytest.raises(InputError, match="`k` must be at least 1"):
        run("127.0.0.1:1", lambda client: client.recommend(["a"], k=0))
    with pytest.raises(InputError, match="HOST:PORT"):
        run("nowhere", QUESTIONS["retrieve"])
