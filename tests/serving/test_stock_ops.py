"""Which operations of a graph a server in C++ cannot run."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.release.validation import foreign_ops


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
    with pytest.raises(InputError, match="saved_model.pb is missing or damaged"):
        foreign_ops(tmp_path)
