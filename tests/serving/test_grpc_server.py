"""A gRPC server's life, without models; what it answers with them is tested in test_server.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.grpc_server import NOT_SERVING, SERVICES, SERVING, GrpcServer


@pytest.fixture
def server() -> Iterator[GrpcServer]:
    server = GrpcServer(api=None)  # type: ignore[arg-type] # nothing is asked of it
    yield server
    server.stop(0.0)
    server.close()


def health_of(port: int) -> list[Any]:
    """Return what health checks hear of each service."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return [stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30).status for name in SERVICES]


def test_health_follows_what_was_said(server):
    port = server.listen("127.0.0.1", 0)
    assert health_of(port) == [NOT_SERVING] * 3
    server.say_serving()
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
