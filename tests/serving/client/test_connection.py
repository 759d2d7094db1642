"""The arguments of the client and of its twin."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import asdict, fields
from typing import Any

from laclrec_tf.serving import AsyncRetrievalClient, RetrievalClient
from laclrec_tf.serving.client.connection import ModelConnection, ModelEndpoint

GIVEN = {"timeout": 7.0, "version": 3, "retries": 2, "wait_for_ready": True}


def test_the_arguments_are_the_endpoints_and_all_but_three_go_by_name():
    parameters = inspect.signature(ModelConnection).parameters.values()
    assert [(p.name, p.default) for p in list(parameters)[2:]] == [(f.name, f.default) for f in fields(ModelEndpoint)][
        2:
    ]
    positional = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional == ["target", "model_name", "timeout"]


def test_both_clients_are_what_they_were_given():
    async def twin() -> dict[str, Any]:
        async with AsyncRetrievalClient("127.0.0.1:1", "shop", **GIVEN) as client:
            assert (client.target, client.model_name, client.timeout) == ("127.0.0.1:1", "shop", 7.0)
            return asdict(client.endpoint)

    with RetrievalClient("127.0.0.1:1", "shop", **GIVEN) as client:
        assert (client.target, client.model_name, client.timeout) == ("127.0.0.1:1", "shop", 7.0)
        given = asdict(client.endpoint)
    assert given == asyncio.run(twin())
    assert given.items() >= GIVEN.items()
