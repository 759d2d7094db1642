"""Coroutines from a thread that has no loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from laclrec_tf.serving.server.grpc_server import EventLoop


@pytest.fixture
def loop():
    loop = EventLoop("test-loop")
    yield loop
    loop.close()
    assert "test-loop" not in {thread.name for thread in threading.enumerate()}


def test_results_and_errors_come_back(loop):
    async def name() -> str:
        return threading.current_thread().name

    async def fail() -> None:
        raise KeyError("lost")

    assert loop.run(name()) == "test-loop"
    with pytest.raises(KeyError, match="lost"):
        loop.run(fail())


def test_only_grpcs_false_alarm_is_silent(loop, caplog):
    async def raise_in_callback(error: Exception) -> None:
        def callback() -> None:
            raise error

        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.001)

    loop.run(raise_in_callback(BlockingIOError(11, "Resource temporarily unavailable")))
    assert caplog.text == ""
    loop.run(raise_in_callback(ValueError("a bug")))
    assert "a bug" in caplog.text
