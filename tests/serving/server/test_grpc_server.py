"""The event loop, and a server with its health checks and reflection."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.grpc_server import NOT_SERVING, SERVICES, SERVING, EventLoop, GrpcServer

REFLECTED = """
from google.protobuf import descriptor_pool
from laclrec_tf.serving.server.calls import MODEL_SERVICE, PREDICTION_SERVICE
for name in (PREDICTION_SERVICE, MODEL_SERVICE):
    print(descriptor_pool.Default().FindFileContainingSymbol(name).name)
"""


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


@pytest.fixture
def server() -> Iterator[GrpcServer]:
    server = GrpcServer(api=None)  # type: ignore[arg-type] # it is not called
    yield server
    server.stop(0.0)
    server.close()


def health_of(port: int) -> list[Any]:
    """Return what health checks hear of each service."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return [stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status for name in SERVICES]


def test_health_is_what_was_reported(server):
    port = server.listen("127.0.0.1", 0)
    assert health_of(port) == [NOT_SERVING] * 3
    server.report_health(True)
    assert health_of(port) == [SERVING] * 3
    server.stop(0.0)
    with pytest.raises(grpc.RpcError) as refused:
        health_of(port)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_port_in_use(server):
    port = server.listen("127.0.0.1", 0)
    other = GrpcServer(api=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"Cannot listen on 127.0.0.1:{port}: the port is in use"):
        other.listen("127.0.0.1", port)
    other.stop(0.0)  # although it never listened
    other.close()


def test_reflection_can_describe_the_services_in_a_process_without_stubs():
    # A process of its own: here other tests have imported the stubs, and with them the descriptors.
    done = subprocess.run([sys.executable, "-c", REFLECTED], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [
        "tensorflow_serving/apis/prediction_service.proto",
        "tensorflow_serving/apis/model_service.proto",
    ], done.stderr
