"""Certificates: which files are read or refused, and which clients are accepted."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving import AsyncRetrievalClient, ModelServer, RetrievalClient
from laclrec_tf.serving.tls import TlsFiles

REQUEST = get_model_status_pb2.GetModelStatusRequest()
REQUEST.model_spec.name = "counting"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def secure_server(service: Any, pems: Path, mutual: bool) -> Iterator[str]:
    pair = (pems / "localhost.key").read_bytes(), (pems / "localhost.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([pair], (pems / "ca.pem").read_bytes(), require_client_auth=mutual)
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


def test_tls_of_clients(hand_written, pems):
    with secure_server(hand_written, pems, mutual=False) as target:
        assert ask(hand_written, target, root_certificates=pems / "ca.pem") == 3
        with pytest.raises(InputError, match="UNAVAILABLE.*Check that the server uses TLS, the certificates"):
            ask(hand_written, target, root_certificates=pems / "stranger.pem")


def test_mutual_tls_of_clients(hand_written, pems):
    own = {"client_certificate": pems / "client.pem", "client_key": pems / "client.key"}
    with secure_server(hand_written, pems, mutual=True) as target:
        assert ask(hand_written, target, root_certificates=pems / "ca.pem", **own) == 3
        with pytest.raises(InputError, match="UNAVAILABLE"):
            ask(hand_written, target, root_certificates=pems / "ca.pem")
        # Within a short timeout the client retries, and reports the last error or the end of the time.
        hurried = RetrievalClient(target, "shop", timeout=0.5, root_certificates=pems / "ca.pem")
        with (
            hurried as client,
            pytest.raises(InputError, match="(UNAVAILABLE|DEADLINE_EXCEEDED).*Check that the server uses TLS"),
        ):
            client.embed_history(["a"])


def test_mutual_tls_of_the_async_client(hand_written, pems):
    async def ask_async(target: str) -> int:
        own = {"client_certificate": pems / "client.pem", "client_key": pems / "client.key"}
        roots = pems / "ca.pem"
        async with AsyncRetrievalClient(target, "shop", timeout=30, root_certificates=roots, **own) as client:
            return (await client.embed_history(["a"])).unknown[0]

    hand_written.answers["embed_history"] = {"user_vectors": np.ones([1, 2], np.float32), "unknown": np.array([4])}
    with secure_server(hand_written, pems, mutual=True) as target:
        assert asyncio.run(ask_async(target)) == 4


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
        (("ca.pem", "client.pem", "other.key"), "of a certificate and of its key"),
        (("ca.pem", "client.pem", "text.pem"), "of a certificate and of its key"),
    ],
)
def test_files_that_cannot_be_used(pems, names, text):
    arguments = ("root_certificates", "client_certificate", "client_key")
    given = {argument: pems / name for argument, name in zip(arguments, names, strict=True) if name}
    with pytest.raises(InputError, match=text) as caught:
        RetrievalClient("localhost:1", "shop", **given)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """Return the server's certificate and key, and the authority that signed them, as PEM files."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "client_ca")}
    files["certificate"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["client_ca"])
    return files


def states(target: str, credentials: grpc.ChannelCredentials | None) -> int:
    """Count the versions in the server's status."""
    channel = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return len(stub.GetModelStatus(REQUEST, timeout=10).model_version_status)


def test_tls(files, authority, counting_folder):
    root = authority.cert_pem.bytes()
    tls = TlsFiles(files["certificate"], files["key"])
    with ModelServer("counting", counting_folder, port=0, tls=tls) as server:
        target = f"localhost:{server.port}"
        assert states(target, grpc.ssl_channel_credentials(root)) == 1
        for credentials in (None, grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())):
            with pytest.raises(grpc.RpcError) as caught:
                states(target, credentials)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_mutual_tls(files, authority, counting_folder):
    root = authority.cert_pem.bytes()
    with ModelServer("counting", counting_folder, port=0, tls=TlsFiles(**files)) as server:
        target = f"localhost:{server.port}"
        for issuer, accepted in ((authority, True), (trustme.CA(), False)):
            client = issuer.issue_cert("client@example.org")
            credentials = grpc.ssl_channel_credentials(
                root, client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
            )
            if accepted:
                assert states(target, credentials) == 1
            else:
                with pytest.raises(grpc.RpcError):
                    states(target, credentials)
        with pytest.raises(grpc.RpcError):
            states(target, grpc.ssl_channel_credentials(root))


def test_only_a_part_is_given(files):
    assert TlsFiles.if_given(None, None) is None
    assert TlsFiles.if_given(files["certificate"], files["key"]) == TlsFiles(files["certificate"], files["key"])
    for given, text in (
        ((files["certificate"], None, None), "Received: a certificate."),
        ((None, files["key"], files["client_ca"]), "Received: a key, a client authority."),
    ):
        with pytest.raises(InputError, match=text):
            TlsFiles.if_given(*given)


def test_files_that_are_no_certificates(files, tmp_path, counting_folder):
    (tmp_path / "empty").write_bytes(b"")
    for change, text in (
        ({"certificate": tmp_path / "missing"}, "Cannot read .*missing: No such file"),
        ({"certificate": files["key"]}, "key.pem contains no certificate in PEM format"),
        ({"key": tmp_path / "empty"}, "empty contains no private key in PEM format"),
        ({"client_ca": tmp_path / "empty"}, "empty contains no certificate"),
    ):
        with pytest.raises(InputError, match=text):
            ModelServer("counting", counting_folder, port=0, tls=TlsFiles(**(files | change))).start()


def test_a_key_of_another_certificate(files, authority, counting_folder):
    authority.issue_cert("localhost").private_key_pem.write_to_path(files["key"])
    with pytest.raises(InputError, match="The key .*key.pem does not belong to the certificate .*certificate.pem"):
        ModelServer("counting", counting_folder, port=0, tls=TlsFiles(**files)).start()


def test_a_key_that_comes_through_a_pipe(files, authority, counting_folder, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(files["key"].read_bytes(),), daemon=True).start()
    with ModelServer("counting", counting_folder, port=0, tls=TlsFiles(files["certificate"], pipe)) as server:
        root = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        assert states(f"localhost:{server.port}", root) == 1


def test_an_authority_that_is_damaged(files, counting_folder):
    files["client_ca"].write_text("-----BEGIN CERTIFICATE-----\nno base64\n-----END CERTIFICATE-----\n")
    with pytest.raises(InputError, match="or a certificate cannot be used"):
        ModelServer("counting", counting_folder, port=0, tls=TlsFiles(**files)).start()
