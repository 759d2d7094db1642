"""Certificates: what is read, what is refused, who is let in."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import grpc
import pytest
import trustme
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving import ModelServer
from laclrec_tf.serving.tls import TlsFiles

REQUEST = get_model_status_pb2.GetModelStatusRequest()
REQUEST.model_spec.name = "counting"


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
    """Count the versions that the server tells of."""
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
    assert TlsFiles.given(None, None) is None
    assert TlsFiles.given(files["certificate"], files["key"]) == TlsFiles(files["certificate"], files["key"])
    for given, text in (
        ((files["certificate"], None, None), "Received: a certificate."),
        ((None, files["key"], files["client_ca"]), "Received: a key, a client authority."),
    ):
        with pytest.raises(InputError, match=text):
            TlsFiles.given(*given)


def test_files_that_are_no_certificates(files, tmp_path, counting_folder):
    (tmp_path / "empty").write_bytes(b"")
    for change, text in (
        ({"certificate": tmp_path / "missing"}, "Cannot read .*missing: No such file"),
        ({"certificate": files["key"]}, "key.pem holds no certificate in PEM format"),
        ({"key": tmp_path / "empty"}, "empty holds no private key in PEM format"),
        ({"client_ca": tmp_path / "empty"}, "empty holds no certificate"),
    ):
        with pytest.raises(InputError, match=text):
            ModelServer("counting", counting_folder, port=0, tls=TlsFiles(**(files | change))).start()


def test_a_key_of_another_certificate(files, authority, counting_folder):
    authority.issue_cert("localhost").private_key_pem.write_to_path(files["key"])
    with pytest.raises(InputError, match="certificate.pem and the key .*key.pem do not fit together"):
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
