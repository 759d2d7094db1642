"""One tiny model, exported and served once for all tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from laclrec_tf.serving import ModelServer, RetrievalClient, Retriever, export_model

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


class HandWrittenService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers each signature with the arrays it was given, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.refusals: list[grpc.StatusCode] = []  # for the first requests, one each
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
        if self.refusals:
            context.abort(self.refusals.pop(0), "not now")
        response = predict_pb2.PredictResponse()
        for name, array in self.answers[request.model_spec.signature_name].items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


@pytest.fixture
def hand_written() -> Iterator[HandWrittenService]:
    """Return a service, served at its `target`, that answers what the test writes into it."""
    service, server = HandWrittenService(), grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    service.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    server.stop(None).wait()
