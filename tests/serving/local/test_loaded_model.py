"""A SavedModel in its own session: the same answers, the right errors, and no memory held after `close`."""

from __future__ import annotations

import gc
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import LoadedModel, SignatureInputs
from laclrec_tf.serving.server.served_model import ServedVersion

ROWS = np.array([[b"a", b"b"]], object)
HISTORY = np.array([[b"a", b"b", b""], [b"", b"", b""]], object)


@pytest.fixture
def inputs() -> SignatureInputs:
    definition = meta_graph_pb2.SignatureDef()
    for name, shape, dtype in (("history", [None, None], tf.string), ("k", [], tf.int32), ("extra", None, tf.float32)):
        definition.inputs[name].dtype = dtype.as_datatype_enum
        definition.inputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    definition.defaults["k"].CopyFrom(tf.make_tensor_proto(7))
    definition.defaults["extra"].CopyFrom(tf.make_tensor_proto([[0.5]]))
    return SignatureInputs("retrieve", definition)


def test_defaults_are_filled_in(inputs):
    complete = inputs.complete({"history": ROWS})
    assert list(complete) == list(inputs.specs)
    assert complete["history"] is ROWS
    assert complete["k"].item() == 7 and complete["k"].dtype == np.int32
    assert complete["extra"].tolist() == [[0.5]]


def test_what_is_given_goes_over_defaults(inputs):
    complete = inputs.complete({"history": ROWS, "k": np.array(2, np.int32), "extra": np.zeros(3, np.float32)})
    assert complete["k"].item() == 2 and complete["extra"].shape == (3,)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "takes the inputs extra, history, k. Missing: history. Superfluous: none."),
        ({"history": ROWS, "b": ROWS, "a": ROWS}, "Missing: none. Superfluous: a, b."),
        (
            {"history": ROWS[0]},
            "'history' of signature 'retrieve' must be string of shape [any, any]. Received: ",
        ),
        ({"history": ROWS, "k": np.array(1)}, "must be int32 of shape []. Received: int64 of shape []."),
        (
            {"history": ROWS, "extra": np.zeros(3)},
            "must be float32 of any shape. Received: float64 of shape [3].",
        ),
    ],
)
def test_what_does_not_fit(inputs, given, text):
    with pytest.raises(ServingError) as caught:
        inputs.complete(given)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in caught.value.message


@pytest.fixture(scope="module", params=[0, 1])
def model(request: pytest.FixtureRequest, counting_version: Path) -> LoadedModel:
    return LoadedModel(counting_version, intra_op_threads=request.param)


def test_it_answers_as_tensorflows_own_loader(model, counting_version):
    theirs = tf.saved_model.load(str(counting_version)).signatures["count"](
        history=tf.constant(HISTORY), k=tf.constant(3)
    )
    ours = model.run("count", {"history": HISTORY, "k": np.array(3, np.int32)})
    assert ours.keys() == theirs.keys()
    for name, output in ours.items():
        assert output.tolist() == theirs[name].numpy().tolist() and output.dtype == theirs[name].numpy().dtype
    assert ours["count"].tolist() == [6, 0]


def test_defaults_and_names(model):
    assert model.signature_names == ["count", "serving_default"]
    assert model.run("serving_default", {"history": HISTORY})["count"].tolist() == [20, 0]


def test_what_an_operation_complains_about(model):
    for inputs, text in (
        ({"history": HISTORY, "k": np.array(0, np.int32)}, "Input k must be at least 1"),
        ({"history": np.array([[b"poison"]], object)}, "a poisoned history"),
        ({"history": np.zeros((1, 0), object)}, "slice index 0 of dimension 1 out of bounds"),
    ):
        with pytest.raises(ServingError) as caught:
            model.run("serving_default", inputs)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.message == text


def test_close_frees_the_memory(counting_version):
    model = LoadedModel(counting_version)
    graph = weakref.ref(model._session.graph)
    gone = weakref.ref(model)
    model.close()
    del model
    gc.collect()
    assert gone() is None and graph() is None


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("damage", [None, b"", b"nonsense"])
def test_damaged(counting_version, tmp_path, file, damage):
    folder = shutil.copytree(counting_version, tmp_path / "1")
    (folder / file).unlink()
    if damage is not None:
        (folder / file).write_bytes(damage)
    with pytest.raises(InputError, match="Cannot load .*Export the model again.") as caught:
        LoadedModel(folder)
    assert "\n" not in str(caught.value)


def ready(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each signature is added, by what it gives, when it is made ready."""
    made: list[str] = []
    make = model._session._make_callable_from_options
    monkeypatch.setattr(
        model._session, "_make_callable_from_options", lambda how: made.append(how.fetch[0]) or make(how)
    )
    return made


def test_a_signature_is_made_ready_once_when_it_is_called(counting_version, monkeypatch):
    model = LoadedModel(counting_version)
    made = ready(model, monkeypatch)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: model.run("serving_default", {"history": HISTORY}), range(8)))
    assert [answer["count"].tolist() for answer in answers] == [[20, 0]] * 8
    assert len(made) == 1
    model.prepare()
    assert len(made) == len(set(made)) == 2


def test_a_served_version_is_announced_with_every_signature_ready(counting_version, monkeypatch):
    version = ServedVersion("shop", 1, counting_version)
    assert version.load()
    made = ready(version.model, monkeypatch)
    version.model.run("serving_default", {"history": HISTORY})
    version.model.run("count", {"history": HISTORY, "k": np.array(3, np.int32)})
    assert made == []
