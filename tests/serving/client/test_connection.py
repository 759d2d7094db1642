"""The arguments of a connection: the same for both clients."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import asdict
from typing import Any

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving import AsyncRetrievalClient, RetrievalClient
from laclrec_tf.serving.client.connection import ModelEndpoint
from laclrec_tf.serving.client.queries import (
    augment_query,
    embed_history_query,
    embed_items_query,
    rank_query,
    recommend_query,
    similar_items_query,
)
from laclrec_tf.serving.client.wire import read_array

GIVEN = {"timeout": 7.0, "version": 3, "retries": 2, "wait_for_ready": True}


def test_both_clients_take_the_endpoints_arguments_and_all_but_three_are_keywords():
    parameters = inspect.signature(ModelEndpoint).parameters
    assert inspect.signature(RetrievalClient).parameters == parameters
    assert inspect.signature(AsyncRetrievalClient).parameters == parameters
    positional = [p.name for p in parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional == ["target", "model_name", "timeout"]


@pytest.mark.parametrize(
    "query",
    [
        recommend_query([["a"], ["b", "c"]], 3, exclude=["x"], allow=(), exclude_history=True),
        recommend_query([[]], 3, exclude=(), allow=[["x", "y"]], exclude_history=False),
        rank_query([["a"], ["b"]], ["x", "y", "z"]),
        similar_items_query(["a", "b", "c"], 5),
        embed_history_query([["a"], []]),
        embed_items_query(["a", "b"]),
        augment_query([["a"]]),
    ],
    ids=lambda query: query.signature,
)
def test_requests_of_equal_rows_can_be_concatenated(query):
    """As TensorFlow Serving with --enable_batching does it, see deploy/README.md."""
    (inputs,) = query.requests
    request = ModelEndpoint("127.0.0.1:1", "shop", row_width=4).predict_request(query.signature, inputs)
    sent = {name: read_array(request.inputs[name]) for name in inputs}
    rows = len(next(iter(inputs.values())))
    for name, array in sent.items():
        assert array.shape == ((rows, 4) if inputs[name].ndim == 2 else (rows,)), name
    with pytest.raises(
        InputError, match=r"`row_width` must be at least the length of every list. Received: row_width=1"
    ):
        longer = recommend_query([["a", "b"]], 3, (), (), True).requests[0]
        ModelEndpoint("127.0.0.1:1", "shop", row_width=1).predict_request("retrieve", longer)


def test_both_clients_keep_their_arguments():
    async def arguments() -> dict[str, Any]:
        async with AsyncRetrievalClient("127.0.0.1:1", "shop", **GIVEN) as client:
            return asdict(client)

    with RetrievalClient("127.0.0.1:1", "shop", **GIVEN) as client:
        assert (client.target, client.model_name, client.timeout) == ("127.0.0.1:1", "shop", 7.0)
        with pytest.raises(AttributeError):
            client.timeout = 1.0
        assert asdict(client) == asyncio.run(arguments())
    assert asdict(client).items() >= GIVEN.items()


@pytest.mark.parametrize(
    "target",
    ["", "shop", "127.0.0.1", "127.0.0.1:", ":8500", "127.0.0.1:0", "127.0.0.1:99999", "::1:8500", "a b:1", "h:-1"],
)
def test_wrong_addresses(target):
    with pytest.raises(InputError, match="HOST:PORT with a port from 1 to 65535.*Received: "):
        RetrievalClient(target, "shop")


@pytest.mark.parametrize("target", ["127.0.0.1:8500", "shop.example:65535", "[::1]:1", "model-server:80"])
def test_addresses(target):
    assert RetrievalClient(target, "shop").target == target


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"timeout": 0}, "`timeout` must be above 0. Received: timeout=0"),
        ({"version": -1}, "`version` must be 0 or above. Received: version=-1"),
        ({"version": 1, "version_label": "stable"}, "`version` or `version_label`, not both"),
        ({"row_width": 0}, "`row_width` must be at least 1. Received: row_width=0"),
        ({"retries": 5}, "`retries` must be from 0 to 4. Received: retries=5"),
        ({"retries": -1}, "`retries` must be from 0 to 4"),
        ({"client_key": "key.pem"}, "needs both, `client_certificate` and `client_key`"),
    ],
)
def test_arguments_out_of_range(arguments, text):
    with pytest.raises(InputError, match=text):
        RetrievalClient("127.0.0.1:1", "shop", **arguments)
