"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import tensorflow as tf
from filelock import FileLock
from hypothesis import settings
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.release.export import export
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train


@contextmanager
def untraced() -> Iterator[None]:
    """Run training steps eagerly: for a few steps, tracing takes longer than running them.

    The tests of the models, and tests that start a command, trace them.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@pytest.fixture(scope="module")
def untraced_training() -> Iterator[None]:
    """Run the training steps of all tests of a module eagerly."""
    with untraced():
        yield


@pytest.fixture
def untraced_here() -> Iterator[None]:
    """Run the training steps of one test eagerly."""
    with untraced():
        yield


FEWER_LAYERS = {"n_recommender_blocks": 0}  # built, traced, saved and loaded faster


@pytest.fixture(scope="session")
def long_data(made_once) -> Path:
    """Return a folder of prepared data: 150 users and 150 items, none dropped."""

    def make(folder: Path) -> None:
        simulate_events(folder / "events.csv", users=150, items=150, seed=5)
        prepare([folder / "events.csv"], folder / "data", min_interactions=1)

    return made_once("prepared", make) / "data"


@pytest.fixture(scope="session")
def data(long_data: Path) -> Path:
    """Return the data of a test. A module whose tests take the short ones replaces this fixture."""
    return long_data


@pytest.fixture(scope="session")
def short_data(long_data: Path, made_once) -> Path:
    """Return the last events of the same users: they are of one bucket, so an epoch has few steps."""

    def make(folder: Path) -> None:
        for name in ("events.csv", "events.truth.csv"):
            shutil.copy(long_data.parent / name, folder)
        prepare([folder / "events.csv"], folder / "data", min_interactions=1, max_length=6, window="last")

    return made_once("short-prepared", make) / "data"


@pytest.fixture(scope="session")
def sasrec_run(long_data: Path, made_once) -> RunFolder:
    """Return a run of three epochs of a model without an augmenter."""
    config = TrainConfig.of(
        FEWER_LAYERS | {"preset": "sasrec", "width": 16, "epochs": 3, "learning_rate": 0.02, "seed": 3}
    )
    return RunFolder.open(made_once("sasrec", _trained(long_data, config)) / "run")


@pytest.fixture(scope="session")
def laclrec_run(long_data: Path, made_once) -> RunFolder:
    """Return a run of one epoch of a model with an augmenter."""
    config = TrainConfig.of(
        FEWER_LAYERS | {"width": 8, "epochs": 1, "lambda_aug": 1.0, "learning_rate": 0.02, "dropout": 0.0, "seed": 4}
    )
    return RunFolder.open(made_once("laclrec", _trained(long_data, config)) / "run")


def _trained(data: Path, config: TrainConfig) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        with untraced():
            train(data, folder / "run", config, show_progress=False)

    return make


@pytest.fixture(scope="session")
def evaluated_run(sasrec_run: RunFolder, made_once) -> Path:
    """Return the run without an augmenter, evaluated on the test split with two protocols."""

    def make(folder: Path) -> None:
        shutil.copytree(sasrec_run.folder, folder / "run")
        for protocol in ("full", "full-with-history"):
            evaluate(folder / "run", protocol=protocol, show_progress=False)

    return made_once("evaluated", make) / "run"


@pytest.fixture(scope="session")
def sasrec_export(evaluated_run: Path, made_once) -> Path:
    """Return `.../shop`, the folder of a model whose version 1 is the evaluated run."""
    make = lambda folder: export(evaluated_run, folder / "shop", show_progress=False)  # noqa: E731
    return made_once("sasrec-export", make) / "shop"


@pytest.fixture(scope="session")
def laclrec_export(laclrec_run: RunFolder, made_once) -> Path:
    """Return `.../shop`, the folder of a model whose version 1 is the run with an augmenter."""
    make = lambda folder: export(laclrec_run.folder, folder / "shop", show_progress=False)  # noqa: E731
    return made_once("laclrec-export", make) / "shop"


# No test asserts a duration, and every run tries the same examples.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

# The graphs of tests run a few times on a few rows, so optimizing them costs more than it saves. Commands that tests
# start as processes optimize them.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module")
def quick_loads() -> Iterator[None]:
    """Load SavedModels without optimizing their graphs, which takes half of a load.

    Errors of operations then have other texts, so the tests of these optimize, and so do commands that tests start.
    """

    def config(**arguments: Any) -> config_pb2.ConfigProto:
        made = config_pb2.ConfigProto(**arguments)
        made.graph_options.rewrite_options.disable_meta_optimizer = True
        return made

    with pytest.MonkeyPatch.context() as patch:
        protos = SimpleNamespace(ConfigProto=config, CallableOptions=config_pb2.CallableOptions)
        patch.setattr("laclrec_tf.serving.local.loaded_model.config_pb2", protos)
        yield


# The longest files run first, so that at the end no worker runs alone.
LONGEST = ("test_resume.py", "test_main.py", "test_worker_resume.py", "test_kubeflow.py", "test_worker.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by duration."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """Exclude the modules of TensorFlow and others from garbage collection, which would scan them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)  # models and graphs have many objects: a seventh of the collections frees as much


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder of the real data sets, next to the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the real data sets are missing: there is no ../shared next to the repository")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that creates a folder, by name, once for all workers of a test run.

    The first worker that calls it creates the folder, and the others wait. A test that changes the folder copies it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def make(name: str, maker: Callable[[Path], object]) -> Path:
        folder, made = shared / f"shared-{name}", shared / f"shared-{name}.made"
        with FileLock(shared / f"shared-{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left by a worker that failed
                folder.mkdir()
                maker(folder)
                made.touch()
        return folder

    return make


class HandWrittenService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """A service that answers each signature with the arrays in `answers`, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.refusals: list[grpc.StatusCode | None] = []  # one for each of the first requests; None: an answer
        self.requests: list[predict_pb2.PredictRequest] = []
        self.target = ""

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The inputs of all requests as (dtype, nested lists)."""
        return [
            {name: (tf.as_dtype(proto.dtype).name, tf.make_ndarray(proto).tolist()) for name, proto in r.inputs.items()}
            for r in self.requests
        ]

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        self.requests.append(request)
        if self.refusals and (code := self.refusals.pop(0)):
            context.abort(code, "not now")
        response = predict_pb2.PredictResponse()
        for name, array in self.answers[request.model_spec.signature_name].items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


@pytest.fixture
def hand_written() -> Iterator[HandWrittenService]:
    """Return a running service at `target` whose answers the test sets."""
    service, server = HandWrittenService(), grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    service.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    server.stop(None).wait()
