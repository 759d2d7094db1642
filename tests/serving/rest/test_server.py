"""The REST API on a real port."""

from __future__ import annotations

import gzip
import json
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import trustme

from laclrec_tf.errors import InputError
from laclrec_tf.serving.rest import app, server
from laclrec_tf.serving.rest.server import RestServer, VertexEnvironment, read_vertex_environment
from laclrec_tf.serving.server.metrics import ServerMetrics
from laclrec_tf.serving.tls import TlsFiles

BODY = {"instances": [["007", "PAD"], ["-1"]]}


def test_the_variables_are_read(monkeypatch):
    monkeypatch.setenv("AIP_HTTP_PORT", "8080")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/v1/endpoints/7/deployedModels/8")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/7/deployedModels/8:predict")
    assert read_vertex_environment() == VertexEnvironment(
        8080, "/v1/endpoints/7/deployedModels/8", "/v1/endpoints/7/deployedModels/8:predict"
    )


def test_elsewhere_nothing_is_said():
    assert read_vertex_environment({}) == read_vertex_environment({"AIP_HTTP_PORT": ""}) == VertexEnvironment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIP_HTTP_PORT", "http"),
        ("AIP_HTTP_PORT", "65536"),
        ("AIP_HTTP_PORT", "-1"),
        ("AIP_HTTP_PORT", "²"),
        ("AIP_HEALTH_ROUTE", "ping"),
        ("AIP_PREDICT_ROUTE", "predict"),
    ],
)
def test_a_variable_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=f"^{name} must .*Received: {value}."):
        read_vertex_environment({name: value})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, Path]:
    """PEM files: the server's certificate and key, and the authority."""
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "client_ca")}
    authority.cert_pem.write_to_path(str(paths["client_ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    certificate.private_key_pem.write_to_path(str(paths["key"]))
    return paths


def test_a_request_over_the_wire(api, retriever):
    with RestServer(api, port=0, metrics=ServerMetrics(), default_model="shop") as server:
        assert server.port > 0
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as web:
            answers = [web.post("/v1/models/shop:predict", json=BODY) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert "server" not in answers[0].headers
            assert web.get("/healthz").json() == {"status": "ok"}
            assert web.get("/v1/models/a%2Fb").status_code == 404
            metrics = web.get("/monitoring/prometheus/metrics").text
    items = [row["item_ids"] for row in answers[0].json()["predictions"]]
    expected = retriever.signatures["serving_default"](history=[["007", "PAD"], ["-1", ""]])["item_ids"].numpy()
    assert items == [[item.decode() for item in row] for row in expected]
    assert 'laclrec_requests_total{code="OK",method="REST Predict",model="shop"} 2.0' in metrics


def test_requests_at_the_same_time(api, vocabulary):
    with RestServer(api, port=0) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as web:
        url = "/v1/models/shop:predict"
        alone = {item: web.post(url, json={"instances": [[item]]}).json() for item in vocabulary.items[:5]}
        with ThreadPoolExecutor(8) as pool:
            together = list(
                pool.map(lambda item: (item, web.post(url, json={"instances": [[item]]}).json()), [*alone] * 8)
            )
    assert all(
        answer["predictions"][0]["item_ids"] == alone[item]["predictions"][0]["item_ids"] for item, answer in together
    )


def test_answers_are_not_held_back_by_the_system(api):
    with RestServer(api, port=0)._listen() as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_bytes_that_are_no_http(api):
    with RestServer(api, port=0) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(b"\x16\x03\x01 no http at all\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        assert httpx.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200


def test_a_huge_body_is_refused_and_the_server_lives_on(api):
    with RestServer(api, port=0, max_body_bytes=1000) as server:
        url = f"http://127.0.0.1:{server.port}/v1/models/shop:predict"
        assert httpx.post(url, content=b" " * 10**6).status_code == 413
        assert httpx.post(url, content=(b" " * 10**5 for _ in range(3))).status_code == 413
        assert httpx.post(url, json=BODY).status_code == 200


HEAD = b"POST /v1/models/shop:predict HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n"


def test_a_body_that_does_not_come(api):
    with RestServer(api, port=0, timeout=0.2) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(HEAD + b'{"instances"')
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert httpx.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200


@pytest.mark.parametrize("compressed", [False, True])
def test_all_bodies_together_have_a_limit(api, monkeypatch, compressed):
    monkeypatch.setattr(app, "HELD_BODIES", 2)
    monkeypatch.setattr(app, "MIN_HELD_BYTES", 0)
    content = json.dumps(BODY).encode().ljust(900)
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    with RestServer(api, port=0, max_body_bytes=1000) as server:
        url = f"http://127.0.0.1:{server.port}/v1/models/shop:predict"
        held = []
        for _ in range(2):  # each has sent 900 of 1,000 bytes
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            held[-1].sendall(HEAD.replace(b"100", b"1000") + bytes(900))
        sent = gzip.compress(content) if compressed else content
        status = lambda: httpx.post(url, content=sent, headers=headers)  # noqa: E731
        until(lambda: status().status_code == 429)
        assert "take too much memory at the moment" in status().json()["error"]
        for connection in held:
            connection.close()
        until(lambda: status().status_code == 200)  # their bytes are released


def test_a_small_body_is_answered_while_large_ones_never_arrive(api, monkeypatch):
    bodies = app.HeldBodies(2000)
    monkeypatch.setattr(app, "HeldBodies", lambda max_bytes: bodies)
    content = json.dumps(BODY).encode()
    with RestServer(api, port=0, max_body_bytes=1000) as server:
        url = f"http://127.0.0.1:{server.port}/v1/models/shop:predict"
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(2)]
        for connection in held:
            connection.sendall(HEAD.replace(b"100", b"1000") + bytes(900))
        until(lambda: bodies.held == 1800)
        assert httpx.post(url, content=content.ljust(900)).status_code == 429  # it is not smaller
        assert httpx.post(url, content=content.ljust(300)).status_code == 200
        refused, _, _ = select.select(held, [], [], 30)
        assert len(refused) == 1 and refused[0].recv(1000).startswith(b"HTTP/1.1 429")
        for connection in held:
            connection.close()


def until(is_true) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_caller_that_hangs_up(api):
    metrics = ServerMetrics()
    with RestServer(api, port=0, metrics=metrics) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(HEAD + b'{"instances"')
        deadline = time.monotonic() + 30
        while b'code="CANCELLED"' not in metrics.exposition():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert httpx.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200


def test_running_requests_end_before_the_server_does(api, monkeypatch):
    arrived, go_on = threading.Event(), threading.Event()
    predict = api.predict

    def slowly(request, timeout=None):
        arrived.set()
        assert go_on.wait(30)
        return predict(request, timeout)

    monkeypatch.setattr(api, "predict", slowly)
    server = RestServer(api, port=0)
    url = f"http://127.0.0.1:{server.start()}/v1/models/shop:predict"
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(httpx.post, url, json=BODY, timeout=60)
        assert arrived.wait(30)
        stopped = pool.submit(server.stop, 30.0)
        refused = False
        while not refused and not stopped.done():
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=10).close()
            except (ConnectionRefusedError, ConnectionResetError):
                refused = True
        assert refused and not answer.done()
        go_on.set()
        assert answer.result().status_code == 200
        stopped.result()


def test_a_second_start_and_stop_do_nothing_and_the_port_is_free_again(api):
    server = RestServer(api, port=0)
    port = server.start()
    assert server.start() == port
    server.stop()
    server.stop()
    with RestServer(api, port=port):
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_tls(api, authority, files):
    with RestServer(api, port=0, tls=TlsFiles(files["certificate"], files["key"])) as server:
        url = f"https://127.0.0.1:{server.port}/healthz"
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)  # an unknown authority
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url.replace("https", "http"))
        assert httpx.get(url, verify=client_context(authority)).status_code == 200


def test_mutual_tls(api, authority, files):
    with RestServer(api, port=0, tls=TlsFiles(**files)) as server:
        url = f"https://127.0.0.1:{server.port}/healthz"
        for stranger in (None, trustme.CA()):
            with pytest.raises(httpx.TransportError):
                httpx.get(url, verify=client_context(authority, stranger))
        assert httpx.get(url, verify=client_context(authority, authority)).status_code == 200


def client_context(trusted: trustme.CA, own: trustme.CA | None = None):
    context = httpx.create_ssl_context()
    trusted.configure_trust(context)
    if own is not None:
        own.issue_cert("client@example.org").configure_cert(context)
    return context


def test_an_address_that_cannot_be_listened_on(api):
    with RestServer(api, port=0) as server:
        second = RestServer(api, port=server.port)
        with pytest.raises(InputError, match=f"port {server.port}: Address already in use.*another port"):
            second.start()
    with pytest.raises(InputError, match="Cannot listen on 192.0.2.1"):
        RestServer(api, host="192.0.2.1", port=0).start()
    with pytest.raises(InputError, match="Received: port=65536"):
        RestServer(api, port=65536)


def test_certificates_that_cannot_be_used(api, files, tmp_path):
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for change in (
        {"key": tmp_path / "missing.pem"},
        {"certificate": garbage},
        {"certificate": files["client_ca"]},  # the key is another certificate's
        {"client_ca": garbage},
    ):
        with pytest.raises(InputError, match="Cannot use the certificate") as caught:
            RestServer(api, port=0, tls=TlsFiles(**(files | change))).start()
        assert "\n" not in str(caught.value)


def closed_after(connection: socket.socket, seconds: float) -> bool:
    """Return whether the server closes a connection within a time, after what it has sent already."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("sent", [b"", b"GET /v1/mod"])
def test_a_connection_without_a_request_is_closed(api, monkeypatch, sent):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with RestServer(api, port=0, default_model="shop") as rest:
        with socket.create_connection(("127.0.0.1", rest.port)) as idle:
            idle.sendall(sent)
            assert closed_after(idle, 30)
        with socket.create_connection(("127.0.0.1", rest.port)) as slow:
            slow.sendall(b"GET /v1/models/shop HTTP/1.1\r\nHost: shop\r\n\r\n")
            slow.settimeout(30)
            assert slow.recv(8) == b"HTTP/1.1"
            slow.sendall(b"GET /v1/mod")  # the head of a second request that never ends
            assert closed_after(slow, 30)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00"], ids=["nothing", "a part"])
def test_a_connection_without_a_handshake_is_closed(api, files, monkeypatch, sent):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with (
        RestServer(api, port=0, tls=TlsFiles(files["certificate"], files["key"])) as rest,
        socket.create_connection(("127.0.0.1", rest.port)) as idle,
    ):
        idle.sendall(sent)
        assert closed_after(idle, 30)


def test_a_caller_that_does_not_read_its_answers(api, monkeypatch):
    monkeypatch.setattr(server, "UNREAD_SECONDS", 0.3)
    monkeypatch.setattr(app, "status_json", lambda response: b" " * 2**22)
    with (
        RestServer(api, port=0, default_model="shop") as rest,
        socket.create_connection(("127.0.0.1", rest.port)) as connection,
    ):
        connection.setblocking(False)

        def closed() -> bool:
            try:
                connection.send(b"GET /v1/models/shop HTTP/1.1\r\nHost: shop\r\n\r\n")
            except BlockingIOError:
                pass  # the server does not read further requests
            except ConnectionError:
                return True
            return False

        until(closed)
        assert httpx.get(f"http://127.0.0.1:{rest.port}/healthz").status_code == 200


def test_beyond_the_max_number_of_connections_new_ones_are_closed(api, monkeypatch, caplog):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(server, "_logged", {})
    with RestServer(api, port=0, default_model="shop") as rest:
        held = [socket.create_connection(("127.0.0.1", rest.port)) for _ in range(3)]
        refused = [socket.create_connection(("127.0.0.1", rest.port)) for _ in range(4)]
        assert all(closed_after(each, 30) for each in refused)
        assert [record.message for record in caplog.records] == ["3 REST connections are open, so new ones are closed."]
        for each in held:
            each.close()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # until the server has seen that they are closed
            try:
                assert httpx.get(f"http://127.0.0.1:{rest.port}/v1/models/shop").status_code == 200
                break
            except httpx.TransportError:
                continue
        else:
            pytest.fail("no connection was accepted any more")


def test_connections_take_no_more_than_half_of_the_descriptors(api, files, monkeypatch):
    monkeypatch.setattr(server.resource, "getrlimit", lambda which: (8, 8))
    monkeypatch.setattr(server, "_logged", {})
    with RestServer(api, port=0, default_model="shop", tls=TlsFiles(files["certificate"], files["key"])) as rest:
        opened = [socket.create_connection(("127.0.0.1", rest.port)) for _ in range(6)]  # none begins a handshake
        assert all(closed_after(each, 30) for each in opened[4:])
        assert not closed_after(opened[0], 0.1)


def test_that_no_connection_can_be_accepted_is_one_line(monkeypatch, caplog):
    monkeypatch.setattr(server, "_logged", {})
    others = []
    loop = SimpleNamespace(default_exception_handler=others.append)
    trouble = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    for _ in range(2048):
        server._log_trouble(loop, trouble)
    assert [record.message for record in caplog.records] == [
        "Cannot accept REST connections: Too many open files. Raise the limit of open files."
    ]
    server._log_trouble(loop, {"message": "another", "exception": ValueError()})
    assert len(others) == 1
