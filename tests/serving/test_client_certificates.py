"""TLS and mutual TLS against a real server, and certificates that cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from tensorflow_serving.apis import prediction_service_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving import AsyncRetrievalClient, RetrievalClient


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority `ca.pem`, and `client` and `other` certificates with their keys."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    for name in ("localhost", "client", "other"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    (folder / "text.pem").write_text("no certificate")
    return folder


@contextmanager
def secure_server(service: Any, files: Path, mutual: bool) -> Iterator[str]:
    pair = (files / "localhost.key").read_bytes(), (files / "localhost.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([pair], (files / "ca.pem").read_bytes(), require_client_auth=mutual)
    server = grpc.server(ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


def ask(service: Any, target: str, **certificates: Path) -> int:
    service.answers["embed_history"] = {"user_vectors": np.ones([1, 2], np.float32), "unknown": np.array([3])}
    with RetrievalClient(target, "shop", timeout=30, retries=0, **certificates) as client:
        return client.embed_history(["a"]).unknown[0]


def test_tls(hand_written, files):
    with secure_server(hand_written, files, mutual=False) as target:
        assert ask(hand_written, target, root_certificates=files / "ca.pem") == 3
        with pytest.raises(InputError, match="UNAVAILABLE.*Check that the server speaks TLS, the certificates"):
            ask(hand_written, target, root_certificates=files / "stranger.pem")


def test_mutual_tls(hand_written, files):
    own = {"client_certificate": files / "client.pem", "client_key": files / "client.key"}
    with secure_server(hand_written, files, mutual=True) as target:
        assert ask(hand_written, target, root_certificates=files / "ca.pem", **own) == 3
        with pytest.raises(InputError, match="UNAVAILABLE"):
            ask(hand_written, target, root_certificates=files / "ca.pem")
        # With retries the time runs out before the refusal is told.
        hurried = RetrievalClient(target, "shop", timeout=0.5, root_certificates=files / "ca.pem")
        with hurried as client, pytest.raises(InputError, match="DEADLINE_EXCEEDED.*Check that the server speaks TLS"):
            client.embed_history(["a"])


def test_the_twin_on_asyncio(hand_written, files):
    async def ask_twin(target: str) -> int:
        own = {"client_certificate": files / "client.pem", "client_key": files / "client.key"}
        roots = files / "ca.pem"
        async with AsyncRetrievalClient(target, "shop", timeout=30, root_certificates=roots, **own) as client:
            return (await client.embed_history(["a"])).unknown[0]

    hand_written.answers["embed_history"] = {"user_vectors": np.ones([1, 2], np.float32), "unknown": np.array([4])}
    with secure_server(hand_written, files, mutual=True) as target:
        assert asyncio.run(ask_twin(target)) == 4


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("none.pem", None, None), "`root_certificates`: cannot read .*none.pem: No such file"),
        (("text.pem", None, None), "`root_certificates` must be a PEM file of certificates. Received: .*text.pem"),
        (("client.key", None, None), "`root_certificates` must be a PEM file"),
        (("ca.pem", "client.pem", None), "needs both"),
        ((None, "client.pem", "client.key"), "`client_certificate` needs `root_certificates`"),
        (("ca.pem", "none.pem", "client.key"), "`client_certificate`: cannot read"),
        (("ca.pem", "client.pem", "none.key"), "`client_key`: cannot read"),
        (("ca.pem", "client.pem", "other.key"), "of a certificate and of its own key"),
        (("ca.pem", "client.pem", "text.pem"), "of a certificate and of its own key"),
    ],
)
def test_files_that_cannot_be_used(files, names, text):
    arguments = ("root_certificates", "client_certificate", "client_key")
    given = {argument: files / name for argument, name in zip(arguments, names, strict=True) if name}
    with pytest.raises(InputError, match=text) as caught:
        RetrievalClient("localhost:1", "shop", **given)
    assert "\n" not in str(caught.value)
