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

GIVEN = {"timeout": 7.0, "version": 3, "retries": 2, "wait_for_ready": True}


def test_both_clients_take_the_endpoints_arguments_and_all_but_three_are_keywords():
    parameters = inspect.signature(ModelEndpoint).parameters
    assert inspect.signature(RetrievalClient).parameters == parameters
    assert inspect.signature(AsyncRetrievalClient).parameters == parameters
    positional = [p.name for p in parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional == ["target", "model_name", "timeout"]


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
        ({"retries": 5}, "`retries` must be from 0 to 4. Received: retries=5"),
        ({"retries": -1}, "`retries` must be from 0 to 4"),
        ({"client_key": "key.pem"}, "needs both, `client_certificate` and `client_key`"),
    ],
)
def test_arguments_out_of_range(arguments, text):
    with pytest.raises(InputError, match=text):
        RetrievalClient("127.0.0.1:1", "shop", **arguments)
