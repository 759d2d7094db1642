"""One tiny model, exported and served once for all tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

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
