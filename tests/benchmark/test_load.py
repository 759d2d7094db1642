"""The load test on real servers: its numbers add up, and its exit code reports failed requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.benchmark.load import DIFFERENT_REQUESTS, VersionPusher, load_requests, loadtest, push_copy
from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving import ModelServer
from laclrec_tf.serving.client.connection import ModelEndpoint
from laclrec_tf.serving.version.folder import version_folders
from laclrec_tf.serving.version.metadata import ServedItems

pytestmark = pytest.mark.usefixtures("quick_loads")

ITEMS = ServedItems(ItemVocabulary(["tent", "zelt-groß", "mug"]), max_length=4)
ENDPOINT = ModelEndpoint("127.0.0.1:8500", "shop")
N_ITEMS = 150


def read(requests: list[bytes]) -> list[predict_pb2.PredictRequest]:
    return [predict_pb2.PredictRequest.FromString(request) for request in requests]


def test_histories_are_of_known_items():
    lengths, items = set(), set()
    for request in read(load_requests(ITEMS, ENDPOINT, "serving_default", rows=1, k=10, seed=0)):
        assert (request.model_spec.name, request.model_spec.signature_name) == ("shop", "serving_default")
        assert list(request.inputs) == ["history"]
        (history,) = tf.make_ndarray(request.inputs["history"]).tolist()
        lengths.add(len(history))
        items |= {item.decode() for item in history}
    assert lengths == {1, 2, 3, 4}
    assert items == set(ITEMS.vocabulary)


def test_retrieve_has_a_k_and_rows():
    requests = read(load_requests(ITEMS, ENDPOINT, "retrieve", rows=5, k=7, seed=0))
    assert len(requests) == DIFFERENT_REQUESTS
    inputs = {name: tf.make_ndarray(proto) for name, proto in requests[0].inputs.items()}
    assert inputs["history"].shape[0] == 5
    assert (inputs["k"].item(), inputs["k"].dtype) == (7, "int32")
    assert inputs["exclude"].shape == (1, 0)


def test_the_seed_decides():
    first, again, other = (load_requests(ITEMS, ENDPOINT, "retrieve", 2, 10, seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.fixture
def pushed_model(tmp_path):
    (tmp_path / "shop/4/assets").mkdir(parents=True)
    (tmp_path / "shop/4/saved_model.pb").write_bytes(b"model")
    (tmp_path / "shop/4/assets/vocabulary.txt").write_text("tent\n")
    return tmp_path / "shop"


def test_the_newest_three_stay(pushed_model):
    assert [push_copy(pushed_model) for _ in range(4)] == [5, 6, 7, 8]
    assert sorted(path.name for path in pushed_model.iterdir()) == ["6", "7", "8"], "and nothing hidden"
    assert (pushed_model / "8/assets/vocabulary.txt").read_text() == "tent\n"


def test_a_version_appears_whole(pushed_model, monkeypatch):
    seen = []
    rename = type(pushed_model).rename

    def watched(path, target):
        if path.name.startswith(".push-"):
            seen.append((list(version_folders(pushed_model)), sorted(file.name for file in path.rglob("*"))))
        return rename(path, target)

    monkeypatch.setattr(type(pushed_model), "rename", watched)
    push_copy(pushed_model)
    assert seen == [([4], ["assets", "saved_model.pb", "vocabulary.txt"])]


def test_it_pushes_until_the_block_ends(pushed_model):
    with VersionPusher(pushed_model, every=0.01) as pusher:
        end = time.monotonic() + 30
        while len(pusher.pushed) < 3 and time.monotonic() < end:
            time.sleep(0.01)
    numbers = [number for _, number in pusher.pushed]
    assert len(numbers) >= 3
    assert numbers == list(range(5, 5 + len(numbers)))
    assert list(version_folders(pushed_model)) == numbers[-3:]
    assert pusher.error is None


def test_nothing_to_push(pushed_model):
    with VersionPusher(pushed_model, every=None) as pusher:
        pass
    assert pusher.pushed == []


def test_a_failed_push_is_kept_as_an_error(pushed_model, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("laclrec_tf.benchmark.load.shutil.copytree", full)
    with VersionPusher(pushed_model, every=0.01) as pusher:
        end = time.monotonic() + 30
        while pusher.error is None and time.monotonic() < end:
            time.sleep(0.01)
    assert pusher.error is not None and pusher.error.errno == 28


@pytest.fixture
def model(sasrec_export: Path) -> Path:
    """Return the folder of an exported model, `.../shop`."""
    return sasrec_export


@pytest.fixture(scope="module")
def target(sasrec_export: Path) -> Iterator[str]:
    """Return the address of a running server of the model."""
    with ModelServer("shop", sasrec_export, port=0) as server:
        yield f"127.0.0.1:{server.port}"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["loadtest", *map(str, arguments)])
    return exit_.value.code


def test_a_running_server(model, target, tmp_path, capsys):
    file = tmp_path / "report.json"
    options = ["--server", target, "--seconds", "0.5", "--clients", 2, "--signature", "retrieve", "--k", 3, "--rows", 2]
    assert run(model, *options, "--json", file) == 0
    report = json.loads(file.read_text())
    assert (report["model"], report["model_version"], report["items"]) == ("shop", 1, N_ITEMS)
    assert (report["signature"], report["k"], report["rows"], report["clients"]) == ("retrieve", 3, 2, 2)
    assert (report["failed"], report["errors"], report["pushed"]) == (0, {}, [])
    assert report["requests"] > 0
    assert report["requests_per_second"] == pytest.approx(report["requests"] / report["seconds"], rel=0.01)
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert "memory_mb" not in report, "the process of a running server is unknown"
    shown = capsys.readouterr().out
    assert f"shop version 1: {N_ITEMS} items, retrieve, 2 histories per request" in shown
    assert f"{latency['p99']:.2f} ms" in shown


def test_a_started_server_with_pushed_versions(model):
    """The server is started by the real command, on a copy of the folder that is deleted afterwards."""
    before = sorted(model.rglob("*"))
    report = loadtest(model, seconds=1.5, clients=2, push_every=0.3)
    assert sorted(model.rglob("*")) == before
    assert (report["failed"], report["model_version"]) == (0, 1)
    assert report["first_request_ms"] > 0
    numbers = [number for _, number in report["pushed"]]
    assert numbers == list(range(2, 2 + len(numbers)))
    assert numbers
    assert report["model_version_after"] in [1, *numbers]
    if report["memory_mb"]["after"] is not None:  # None where there is no /proc
        times = [second for second, _ in report["memory_mb"]["over_time"]]
        assert times == sorted(times)
        assert len(times) >= 2


def test_failed_requests_are_exit_code_1(model, hand_written, capsys, tmp_path):
    hand_written.answers["serving_default"] = {"scores": np.zeros([1, 1], np.float32)}
    hand_written.refusals = [None, None, grpc.StatusCode.UNAVAILABLE, None, grpc.StatusCode.INTERNAL]
    file = tmp_path / "report.json"
    options = ["--server", hand_written.target, "--clients", 1, "--seconds", "0.3"]
    assert run(model, *options, "--json", file) == 1
    report = json.loads(file.read_text())
    assert (report["failed"], report["errors"]) == (2, {"UNAVAILABLE": 1, "INTERNAL": 1})
    assert [details for _, _, details in report["failures"]] == ["not now", "not now"]
    assert "UNAVAILABLE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"clients": 0}, "`clients` must be at least 1. Received: clients=0"),
        ({"rows": 0}, "`rows` must be at least 1"),
        ({"seconds": 0.0}, "`seconds` must be above 0"),
        ({"push_every": -1.0}, "`push_every` must be above 0"),
        ({"signature": "rank"}, "`signature` must be one of serving_default, retrieve. Received: 'rank'"),
        ({"k": 3}, "Only the signature `retrieve` takes `k`. Received: k=3"),
        ({"server": "127.0.0.1:1", "push_every": 1.0}, "Remove --server"),
        ({"server": "127.0.0.1:1", "serve_arguments": ["--x"]}, "Remove --server"),
        ({"server": "nowhere"}, "HOST:PORT"),
        ({"model_name": "shoe"}, "its folder's name, 'shop'. Received: 'shoe'"),
        ({"serve_arguments": ["--no-such-flag"]}, "The server did not start: .*no-such-flag"),
        ({"json_out": "nowhere/report.json"}, "its folder does not exist"),
    ],
)
def test_mistakes_give_one_line(model, settings, text):
    with pytest.raises(InputError, match=text) as caught:
        loadtest(model, **settings)
    assert "\n" not in str(caught.value)


def test_another_model_than_the_servers(model, target):
    with pytest.raises(InputError, match="model shoe: .*NOT_FOUND"):
        loadtest(model, server=target, model_name="shoe")
