"""One tiny model, exported and served once for all tests of serving."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from laclrec_tf.serving import ModelServer, RetrievalClient, Retriever, export_model
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.version.manifest import write_manifest
from laclrec_tf.serving.version.metadata import Evaluation, ModelMetrics
from laclrec_tf.serving.version.warmup import write_warmup_requests

N_ITEMS = 20
MAX_LENGTH = 6


@pytest.fixture(scope="session")
def vocabulary() -> ItemVocabulary:
    """Return twenty items, some with names that are easily misread."""
    odd = ["007", "zelt-groß", "a b", "x,y", "テント", "-1", "PAD", "None"]
    return ItemVocabulary([*odd, *(f"item-{i}" for i in range(len(odd) + 1, N_ITEMS + 1))])


@pytest.fixture(scope="session")
def popularity() -> np.ndarray:
    """Return the number of interactions of each item: 40, 38, ... 2."""
    return np.arange(2 * N_ITEMS, 0, -2)


@pytest.fixture(scope="session")
def model() -> LACLRec:
    """Return an untrained model with weights large enough that all three operations occur."""
    keras.utils.set_random_seed(3)
    model = LACLRec(n_items=N_ITEMS, width=8, dropout=0.0, max_length=MAX_LENGTH, max_edited_length=8, max_insertions=2)
    generator = np.random.default_rng(4)
    for weight in model.trainable_weights:
        weight.assign(weight + generator.normal(0.0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="session")
def retriever(model: LACLRec, vocabulary: ItemVocabulary, popularity: np.ndarray) -> Retriever:
    """Return the live retriever."""
    return Retriever(model, vocabulary, popularity)


@pytest.fixture(scope="session")
def exported(retriever: Retriever, made_once: Callable[..., Path]) -> Path:
    """Return the version's folder of the exported model, `.../shop/1`."""
    make = lambda folder: export_model(retriever, folder / "shop", metadata={"seed": 3})  # noqa: E731
    return made_once("exported", make) / "shop" / "1"


@pytest.fixture(scope="session")
def loaded(exported: Path) -> tf.Module:
    """Return the SavedModel, read back."""
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="session")
def server(exported: Path) -> Iterator[ModelServer]:
    """Return a running server of the exported model."""
    with ModelServer("shop", exported.parent, port=0) as server:
        yield server


@pytest.fixture(scope="session")
def target(server: ModelServer) -> str:
    """Return the server's address."""
    return f"127.0.0.1:{server.port}"


@pytest.fixture(scope="session")
def client(target: str) -> Iterator[RetrievalClient]:
    """Return a client of the server."""
    with RetrievalClient(target, "shop", timeout=30) as client:
        yield client


class SavedModelApi:
    """The methods that the REST API calls, over one SavedModel, without a server."""

    def __init__(self, loaded: tf.Module, folder: Path) -> None:
        """Take the loaded model and its folder."""
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.loaded = loaded
        self.definitions = {name: saved.meta_graphs[0].signature_def[name] for name in self.loaded.signatures}
        self.requests: list[predict_pb2.PredictRequest] = []
        self.timeouts: list[float | None] = []

    def _spec(self, spec: model_pb2.ModelSpec) -> model_pb2.ModelSpec:
        known = spec.version_label in ("", "stable") and spec.version.value in (0, 1)
        if spec.name != "shop" or not known:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        answered = model_pb2.ModelSpec(name="shop", signature_name=spec.signature_name)
        answered.version.value = 1
        return answered

    def has_models(self) -> bool:
        """Return True: it has one."""
        return True

    def predict(self, request: predict_pb2.PredictRequest, timeout: float | None = None) -> predict_pb2.PredictResponse:
        """Run a signature."""
        response = predict_pb2.PredictResponse(model_spec=self._spec(request.model_spec))
        self.requests.append(request)
        self.timeouts.append(timeout)
        protos = {**self.definitions[request.model_spec.signature_name].defaults, **request.inputs}
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in protos.items()}
        for name, output in self.loaded.signatures[request.model_spec.signature_name](**inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(output))
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Return the signatures."""
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=self._spec(request.model_spec))
        map_ = get_model_metadata_pb2.SignatureDefMap(signature_def=self.definitions)
        response.metadata["signature_def"].Pack(map_)
        return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Report that version 1 is AVAILABLE."""
        self._spec(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state="AVAILABLE")
        return response


@pytest.fixture
def api(loaded: tf.Module, exported: Path) -> SavedModelApi:
    """Return a server's methods over the exported model."""
    return SavedModelApi(loaded, exported)


@pytest.fixture(scope="session")
def write_version() -> Callable[..., Path]:
    """Return a function that writes a folder with all that a push looks at but a graph."""

    def write(folder: Path, content: str = "graph", ndcg: float | None = 0.1, data_hash: str = "d" * 64) -> Path:
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_text(content)
        (folder / "variables" / "variables.index").write_text(f"{content} variables")
        evaluations = (Evaluation("validation", "full", {"ndcg@10": ndcg, "recall@10": 0.2}),)
        ModelMetrics(data_hash=data_hash, evaluations=evaluations).write(folder)
        write_manifest(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def killed_at() -> Callable[..., bool]:
    """Return a function that calls another in a child process, which SIGKILLs itself at a given moment.

    A moment is an operation on files below a folder: the child dies just before the `moment`-th of them. The
    function says whether it came so far; a child that was not killed must not have failed.
    """

    def run(function: Callable[[], object], below: Path, moment: int) -> bool:
        child = os.fork()
        if child == 0:
            left = moment

            def watch(event: str, arguments: tuple) -> None:
                nonlocal left
                if event.startswith(("open", "os.", "shutil.", "fcntl.")) and any(
                    str(below) in str(argument) for argument in arguments
                ):
                    left -= 1
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            try:
                function()
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), "the child failed"
        return status == signal.SIGKILL

    return run


class CountingModel(tf.Module):
    """A model that loads fast: it counts items, and fails for the item "poison" or a k below 1."""

    def __init__(self) -> None:
        super().__init__()
        self.one = tf.Variable(1)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.string, name="history"), tf.TensorSpec([], tf.int32, name="k")]
    )
    def count(self, history: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `count` `[B]`, `k` times the items of each history, and `first` `[B]`, the first column."""
        poisoned = tf.reduce_any(tf.equal(history, "poison"))
        checks = [
            tf.debugging.Assert(tf.logical_not(poisoned), ["a poisoned history"]),
            tf.debugging.Assert(k >= 1, ["Input k must be at least 1"]),
        ]
        with tf.control_dependencies(checks):
            count = tf.reduce_sum(tf.cast(tf.not_equal(history, ""), tf.int32), axis=1)
            return {"count": self.one * k * count, "first": history[:, 0]}


@pytest.fixture(scope="session")
def counting_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a version's folder of `CountingModel`, in whose `serving_default` k may be left out: it is 10."""
    folder = tmp_path_factory.mktemp("counting") / "1"
    module = CountingModel()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.count, "count": module.count})
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].signature_def["serving_default"].defaults["k"].CopyFrom(tf.make_tensor_proto(10))
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    requests = []
    for signature in ("serving_default", "count"):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        request.inputs["history"].CopyFrom(tf.make_tensor_proto([["a", "b"], ["a", ""]]))
        request.inputs["k"].CopyFrom(tf.make_tensor_proto(1))
        requests.append(request)
    write_warmup_requests(folder, requests)
    write_manifest(folder)
    return folder


@pytest.fixture
def counting_folder(counting_version: Path, tmp_path: Path) -> Path:
    """Return a model's folder of one's own, `.../counting`, with `CountingModel` as version 1."""
    shutil.copytree(counting_version, tmp_path / "counting" / "1")
    return tmp_path / "counting"


@pytest.fixture
def add_version(counting_version: Path, counting_folder: Path) -> Callable[[int], Path]:
    """Return a function that puts another version of `CountingModel` into `counting_folder`, whole at once."""

    def add(number: int) -> Path:
        shutil.copytree(counting_version, counting_folder / ".partial")
        return (counting_folder / ".partial").rename(counting_folder / str(number))

    return add
