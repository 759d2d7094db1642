"""The `serve` command in a process of its own: flags, signals, mistakes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from laclrec_tf.errors import InputError
from pipelines.serve import ServeSettings, batching_of, limits_of, serve

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "pipelines.cli", "serve"]


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


def ask(port: int, name: str) -> list[bytes]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["a", "b"]]))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return list(stub.Predict(request, timeout=30).outputs["first"].string_val)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(folder, tmp_path, number):
    arguments = [str(folder), "--port", "0", "--poll-seconds", "0", "--max-batch-size", "8", "--max-k", "9"]
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
        assert ask(int(line.split(":")[1].split()[0]), name) == [b"a"]
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (lambda: ServeSettings(grace_seconds=-1), "Argument `grace_seconds` must be at least 0"),
        (lambda: batching_of(max_batch_size=0, num_batch_threads=None), "Argument `max_batch_size`"),
        (lambda: limits_of(max_k=0), "Argument `max_k`"),
        (lambda: serve(), "Give either a model's folder or --model-config FILE."),
        (lambda: serve("no/model"), "no/model is no folder"),
    ],
)
def test_mistakes(settings, text):
    with pytest.raises(InputError, match=text):
        settings()


def test_batching_parameters_of_a_file(tmp_path):
    file = tmp_path / "batching_parameters.txt"
    file.write_text("max_batch_size { value: 32 }\nbatch_timeout_micros { value: 500 }")
    assert batching_of(file).max_batch_size == 32
    with pytest.raises(InputError, match="--batching-parameters-file holds all .* leave --max-batch-size out"):
        batching_of(file, max_batch_size=3)


def test_flags_that_are_left_out():
    assert batching_of(max_batch_size=None).max_batch_size == 64
    assert batching_of(max_batch_size=3, batch_timeout_micros=5).batch_timeout_micros == 5
    assert limits_of(max_k=3).max_message_bytes == 64 * 2**20
