"""The validation, of real SavedModels in a real fresh process."""

from __future__ import annotations

import json
import shutil

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.local import fresh_process
from laclrec_tf.serving.release.validation import Validation, foreign_ops, validate
from laclrec_tf.serving.version.held_out_topk import HELD_OUT_FILE
from laclrec_tf.serving.version.manifest import write_manifest
from laclrec_tf.serving.version.warmup import WARMUP_FILE, read_warmup_requests, write_warmup_requests


def test_an_export_needs_none(exported):
    assert foreign_ops(exported) == []


class CallsPython(tf.Module):
    """A module whose function hides a call of Python two functions deep."""

    def __init__(self, call) -> None:
        """Trace it."""
        super().__init__()
        inner = tf.function(lambda x: call(lambda value: value, [x], tf.float32))
        self.signature = tf.function(lambda x: {"y": inner(x)}, input_signature=[tf.TensorSpec([None], tf.float32)])


@pytest.mark.parametrize(
    ("call", "op"), [(tf.py_function, "EagerPyFunc"), (tf.numpy_function, "PyFunc")], ids=["py", "numpy"]
)
def test_calls_of_python_are_found_inside_functions(tmp_path, call, op):
    module = CallsPython(call)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.signature})
    assert foreign_ops(tmp_path) == [op]


def test_operations_of_other_libraries_are_found(tmp_path):
    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add().graph_def
    function = graph.library.function.add()
    function.signature.name = "mine"
    function.node_def.add(name="a", op="Addons>Gelu")
    for name, op in (("a", "AddV2"), ("b", "ScannSearch"), ("c", "mine"), ("d", "PyFuncStateless")):
        graph.node.add(name=name, op=op)
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    assert foreign_ops(tmp_path) == ["Addons>Gelu", "PyFuncStateless", "ScannSearch"]


def test_a_damaged_graph_is_named(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(InputError, match="Cannot load .*: saved_model.pb is damaged"):
        foreign_ops(tmp_path)


@pytest.fixture
def candidate(exported, tmp_path):
    """Return a copy of the export that a test may spoil."""
    return shutil.copytree(exported, tmp_path / "candidate")


def spoil_first_answer(folder, change):
    content = json.loads((folder / HELD_OUT_FILE).read_text())
    change(content["rows"][0])
    (folder / HELD_OUT_FILE).write_text(json.dumps(content))
    write_manifest(folder)


def test_an_export_is_fit(candidate, retriever):
    requests = 3 * len(retriever.signatures)  # batches of 1, 8 and 32
    files = sum(path.is_file() for path in candidate.rglob("*")) - 1
    assert validate(candidate) == Validation(files, requests, 8, "the example histories of the warm-up requests")


def test_other_recommendations_than_in_training_are_refused(candidate):
    spoil_first_answer(candidate, lambda row: row["item_ids"].reverse())
    with pytest.raises(InputError, match="for 1 of 8 held-out histories, the first of them number 1"):
        validate(candidate)


def test_a_request_without_an_answer_is_refused(candidate):
    requests = read_warmup_requests(candidate)
    requests[-1].inputs["history"].CopyFrom(tf.make_tensor_proto([1.0]))
    write_warmup_requests(candidate, requests)
    write_manifest(candidate)
    with pytest.raises(InputError, match="does not run in a fresh process: .*expected to be a string tensor") as caught:
        validate(candidate)
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_process(monkeypatch):
    """Fail when a process is started: a check of files needs none."""
    monkeypatch.setattr(fresh_process.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))


def test_a_graph_that_calls_python_is_refused(candidate, no_process):
    module = tf.Module()
    module.recommend = tf.function(
        lambda history: {"item_ids": tf.py_function(lambda items: items, [history], tf.string)},
        input_signature=[tf.TensorSpec([None, None], tf.string, name="history")],
    )
    extra = shutil.move(candidate / "assets.extra", candidate.parent / "kept")
    shutil.rmtree(candidate)
    tf.saved_model.save(module, str(candidate), signatures={"serving_default": module.recommend})
    shutil.move(extra, candidate / "assets.extra")
    write_manifest(candidate)
    with pytest.raises(InputError, match="its graph needs EagerPyFunc, which a server in C.. cannot run"):
        validate(candidate)


def test_a_damaged_file_is_refused(candidate, no_process):
    with (candidate / "variables" / "variables.index").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match="changed: variables/variables.index"):
        validate(candidate)


def test_nothing_to_warm_up_with_is_refused(candidate, no_process):
    (candidate / WARMUP_FILE).unlink()
    write_manifest(candidate)
    with pytest.raises(InputError, match="tf_serving_warmup_requests holds no request"):
        validate(candidate)
