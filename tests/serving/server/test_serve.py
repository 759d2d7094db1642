"""The `serve` command in a process of its own: flags, signals, mistakes."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.rest.server import RestServer
from laclrec_tf.serving.server import serve as serve_module
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.metrics import ServerMetrics
from laclrec_tf.serving.server.serve import ServeSettings, limits_of, serve
from laclrec_tf.serving.server.server import ModelServer

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "laclrec_tf.cli.main", "serve"]


class FirstItem(tf.Module):
    """A model that answers with the first item of each history."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
    def first(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `first` `[B]`."""
        return {"first": history[:, 0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model's folder, `.../first-item`."""
    folder = tmp_path_factory.mktemp("models") / "first-item"
    module = FirstItem()
    tf.saved_model.save(module, str(folder / "3"), signatures={"serving_default": module.first})
    return folder


def ask(port: int, name: str, *history: str) -> list[bytes]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([history]))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return list(stub.Predict(request, timeout=30).outputs["first"].string_val)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(folder, tmp_path, number):
    (tmp_path / "batching_parameters.txt").write_text("max_batch_size { value: 8 }")
    arguments = [str(folder), "--port", "0", "--poll-seconds", "0", "--limit", "max_history_length=2"]
    arguments += ["--batching-parameters-file", str(tmp_path / "batching_parameters.txt")]
    name = "first-item"
    if number is signal.SIGINT:
        name = "renamed"
        (tmp_path / "models.config").write_text(
            f'model_config_list {{ config {{ name: "renamed" base_path: "{folder}" model_platform: "tensorflow" }} }}'
        )
        arguments = ["--model-config", str(tmp_path / "models.config"), "--port", "0"]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        while line and "serving" not in line:
            line = process.stderr.readline()
        assert line.startswith(f"serving {name} on 127.0.0.1:")
        port = int(line.split(":")[1].split()[0])
        assert ask(port, name, "a", "b") == [b"a"]
        if number is signal.SIGTERM:
            with pytest.raises(grpc.RpcError, match="may have at most 2 columns"):
                ask(port, name, "a", "b", "c")
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()


def test_rest_takes_no_requests_any_more_when_the_models_go(folder, monkeypatch):
    stopped = []

    def noted(server: type, name: str) -> None:
        stop = server.stop
        monkeypatch.setattr(server, "stop", lambda self, grace: (stopped.append(name), stop(self, grace))[1])

    noted(RestServer, "rest")
    noted(ModelServer, "models")
    told = {}

    def install(number: int, handler: Callable) -> None:
        told[number] = handler
        if set(told) == {signal.SIGTERM, signal.SIGINT}:
            threading.Timer(0.1, handler, (number, None)).start()

    monkeypatch.setattr(signal, "signal", install)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("laclrec_tf.serving.server.serve.set_up_log", lambda *_: None)
    serve(folder, settings=ServeSettings(port=0, rest_port=0, poll_seconds=0))
    assert stopped == ["rest", "models"]


def call_without_pause(port: int) -> tuple[int, grpc.RpcError]:
    """Call until a call fails, and return the number of answers and the failure."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "first-item"
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["a"]]))
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for answers in itertools.count():
            try:
                stub.Predict(request, timeout=60)
            except grpc.RpcError as error:
                return answers, error
    raise AssertionError("it calls until an error")


def test_a_slow_caller_of_one_protocol_takes_nothing_from_the_other_at_a_stop(folder, tmp_path):
    """REST stopped first and used up the grace, so that gRPC's calls ended as CANCELLED."""
    arguments = [str(folder), "--port", "0", "--rest-port", "0", "--poll-seconds", "0", "--grace-seconds", "30"]
    with (tmp_path / "log").open("w") as log:
        command = [*COMMAND, *arguments, "--access-log", "--log-format", "json"]
        process = subprocess.Popen(command, stderr=log, cwd=ROOT)
    try:
        ports = re.compile(r"serving first-item on 127.0.0.1:(\d+) .* 127.0.0.1:(\d+) \(REST\)")
        while (serving := ports.search((tmp_path / "log").read_text())) is None:
            assert process.poll() is None
            time.sleep(0.05)
        port, rest_port = map(int, serving.groups())
        body = b'{"instances": [{"history": ["a", "b"]}]}'
        head = f"POST /v1/models/first-item:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", rest_port)) as slow, ThreadPoolExecutor(4) as pool:
            slow.sendall(head.encode() + body[:1])
            callers = [pool.submit(call_without_pause, port) for _ in range(4)]
            while (tmp_path / "log").read_text().count("Predict") < 50:
                time.sleep(0.01)
            process.terminate()
            ends = [caller.result() for caller in callers]
            # Each caller ends at a refused connection; no call that had a connection is lost.
            assert [error.code() for _, error in ends] == [grpc.StatusCode.UNAVAILABLE] * 4
            assert all("Connection refused" in error.details() for _, error in ends)
            slow.sendall(body[1:])  # the model is still there, although gRPC has stopped
            assert slow.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    codes = Counter(re.findall(r'"method": "Predict".*"code": "(\w+)"', (tmp_path / "log").read_text()))
    assert codes == {"OK": sum(answers for answers, _ in ends)}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (lambda: ServeSettings(grace_seconds=-1), "Argument `grace_seconds` must be at least 0"),
        (lambda: ServeSettings(rest_port=65536), "Argument `rest_port` must be between 0 and 65535"),
        (lambda: limits_of(["max_k=0"]), "Argument `max_k`"),
        (lambda: limits_of(["max_k"]), "--limit takes NAME=N with a whole number N. Received: 'max_k'."),
        (lambda: limits_of(["max_k=1.5"]), "Received: 'max_k=1.5'."),
        (lambda: limits_of(["k=5"]), "--limit takes one of max_message_bytes, .* Received: 'k'."),
        (lambda: serve(), "Give either a model's folder or --model-config FILE."),
        (lambda: serve("no/model"), "no/model is no folder"),
    ],
)
def test_mistakes(settings, text):
    with pytest.raises(InputError, match=text):
        settings()


def test_limits_of_flags():
    assert limits_of([]) == RequestLimits()
    assert limits_of(["max_k=3", "max_history_length=7", "max_k=5"]) == RequestLimits(max_k=5, max_history_length=7)


def test_options_are_checked_before_the_model_is_loaded(folder, tmp_path, capsys):
    file = tmp_path / "batching_parameters.txt"
    file.write_text("max_batch_size { value: 0 }")
    for flags, text in (
        (["--batching-parameters-file", str(file)], "batching_parameters.txt: Argument `max_batch_size` must be"),
        (["--limit", "max_k=none"], "--limit takes NAME=N"),
        (["--tls-key", "key.pem"], "TLS needs a certificate and its key. Received: a key."),
        (["--port", "65536"], "Argument `port` must be between 0 and 65535"),
        (["--rest-port", "65536"], "Argument `rest_port` must be between 0 and 65535"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["serve", str(folder), *flags])
        error = capsys.readouterr().err
        assert caught.value.code == 2 and text in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "given", "expected"),
    [
        ({"AIP_HTTP_PORT": "8080"}, {}, ("0.0.0.0", 8080)),  # Vertex AI calls from outside the container
        ({"AIP_HTTP_PORT": "8080"}, {"host": "127.0.0.1"}, ("127.0.0.1", 8080)),
        ({"AIP_HTTP_PORT": "8080"}, {"rest_port": 8501}, ("127.0.0.1", 8501)),
        ({}, {"rest_port": 8501}, ("127.0.0.1", 8501)),
        ({}, {"rest_port": 8501, "host": "0.0.0.0"}, ("0.0.0.0", 8501)),
    ],
)
def test_rest_listens_where_vertex_ai_calls_it(monkeypatch, environment, given, expected):
    monkeypatch.delenv("AIP_HTTP_PORT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server = SimpleNamespace(api=object(), limits=RequestLimits())
    rest = serve_module._rest_server(server, ["shop"], ServeSettings(**given), ServerMetrics())
    assert (rest.host, rest.port) == expected
