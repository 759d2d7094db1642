"""One tiny model, exported and served once for all tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
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
from laclrec_tf.serving.serving_error import ServingError

N_ITEMS = 20
MAX_LENGTH = 6


@pytest.fixture(scope="session")
def vocabulary() -> ItemVocabulary:
    """Return twenty items; some of them look like something else."""
    odd = ["007", "zelt-groß", "a b", "x,y", "テント", "-1", "PAD", "None"]
    return ItemVocabulary([*odd, *(f"item-{i}" for i in range(len(odd) + 1, N_ITEMS + 1))])


@pytest.fixture(scope="session")
def popularity() -> np.ndarray:
    """Return how often each item was met: 40, 38, ... 2."""
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
def exported(retriever: Retriever, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the version's folder of the exported model, `.../shop/1`."""
    return export_model(retriever, tmp_path_factory.mktemp("models") / "shop", metadata={"seed": 3})


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
    """A server's four methods over one SavedModel, as plain as can be: what the REST API stands on in its tests."""

    def __init__(self, loaded: tf.Module, folder: Path) -> None:
        """Take the model as it was read from its folder."""
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
        """Say what the signatures take and give."""
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=self._spec(request.model_spec))
        map_ = get_model_metadata_pb2.SignatureDefMap(signature_def=self.definitions)
        response.metadata["signature_def"].Pack(map_)
        return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Say that version 1 can answer."""
        self._spec(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state="AVAILABLE")
        return response


@pytest.fixture
def api(loaded: tf.Module, exported: Path) -> SavedModelApi:
    """Return a server's methods over the exported model."""
    return SavedModelApi(loaded, exported)
