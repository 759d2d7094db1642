"""A predict request's JSON, and its answer's."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.rest.predict_json import input_protos, predict_answer, read_predict_body


@pytest.fixture
def retrieve() -> meta_graph_pb2.SignatureDef:
    """A signature with defaults for all inputs but `history`; `k` may be a scalar or one for each row."""
    definition = meta_graph_pb2.SignatureDef()
    shapes = {
        "history": (tf.string, [None, None]),
        "exclude": (tf.string, [None, None]),
        "k": (tf.int32, None),
    }
    for name, (dtype, shape) in shapes.items():
        definition.inputs[name].dtype = dtype.as_datatype_enum
        definition.inputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    definition.defaults["k"].CopyFrom(tf.make_tensor_proto(20, tf.int32))
    definition.defaults["exclude"].CopyFrom(tf.make_tensor_proto([[""]], tf.string))
    return definition


def tensors(definition: meta_graph_pb2.SignatureDef, document: dict) -> dict[str, list]:
    protos = input_protos(read_predict_body(json.dumps(document).encode()), definition)
    return {name: tf.make_ndarray(proto).tolist() for name, proto in protos.items()}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"instances": [["a", "b"], ["c"]]}, {"history": [[b"a", b"b"], [b"c", b""]]}),
        (
            {"instances": [{"history": ["a"], "k": 1}, {"history": ["b"], "k": 2}]},
            {"history": [[b"a"], [b"b"]], "k": [1, 2]},
        ),
        (
            {"instances": [{"history": ["a"], "exclude": ["b"]}, {"history": ["b"], "exclude": []}]},
            {"history": [[b"a"], [b"b"]], "exclude": [[b"b"], [b""]]},
        ),
        ({"instances": [["a"]], "parameters": {"k": 5}}, {"history": [[b"a"]], "k": 5}),
        ({"inputs": [["a"]]}, {"history": [[b"a"]]}),
        ({"inputs": {"history": [["a"]], "k": 5}}, {"history": [[b"a"]], "k": 5}),
    ],
)
def test_inputs_with_a_default_may_be_left_out(retrieve, document, expected):
    assert tensors(retrieve, document) == expected


def test_names_are_needed_where_several_inputs_have_no_default(retrieve):
    del retrieve.defaults["exclude"]
    for key in ("instances", "inputs"):
        with pytest.raises(ServingError, match=f"'{key}' must name its inputs.*exclude, history, k"):
            tensors(retrieve, {key: [["a"]]})


def test_bytes_are_a_value_and_no_named_input():
    definition = meta_graph_pb2.SignatureDef()
    definition.inputs["examples"].dtype = tf.string.as_datatype_enum
    definition.inputs["examples"].tensor_shape.CopyFrom(tf.TensorShape([None]).as_proto())
    assert tensors(definition, {"instances": [{"b64": "/w=="}, {"b64": "YQ=="}]}) == {"examples": [b"\xff", b"a"]}
    assert tensors(definition, {"instances": [{"examples": {"b64": "/w=="}}]}) == {"examples": [b"\xff"]}
    assert tensors(definition, {"inputs": [{"b64": "/w=="}]}) == {"examples": [b"\xff"]}


@pytest.mark.parametrize(
    ("document", "signature"),
    [
        ({"instances": [["a"]]}, ""),
        ({"instances": [["a"]], "signature_name": "rank"}, "rank"),
        ({"instances": [["a"]], "parameters": {"signature_name": "rank"}}, "rank"),
        ({"instances": [["a"]], "signature_name": "rank", "parameters": {"signature_name": "embed"}}, "rank"),
        ({"inputs": [["a"]], "signature_name": "rank"}, "rank"),
    ],
)
def test_the_selected_signature(document, signature):
    assert read_predict_body(json.dumps(document).encode()).signature_name == signature


def test_the_name_of_the_only_output_is_omitted():
    scores = tf.make_tensor_proto([[0.5], [1.5]])
    filled = tf.make_tensor_proto([1, 0])
    assert json.loads(predict_answer({"scores": scores}, True)) == {"predictions": [[0.5], [1.5]]}
    assert json.loads(predict_answer({"scores": scores}, False)) == {"outputs": [[0.5], [1.5]]}
    both = {"scores": scores, "filled": filled}
    assert json.loads(predict_answer(both, True)) == {
        "predictions": [{"filled": 1, "scores": [0.5]}, {"filled": 0, "scores": [1.5]}]
    }
    assert json.loads(predict_answer(both, False)) == {"outputs": {"filled": [1, 0], "scores": [[0.5], [1.5]]}}


@pytest.mark.parametrize("outputs", [{"a": [1, 2], "b": [1]}, {"a": 1}, {"a": [1], "b": 2}])
def test_outputs_that_are_no_rows_need_the_columnar_format(outputs):
    protos = {name: tf.make_tensor_proto(value) for name, value in outputs.items()}
    with pytest.raises(ServingError, match="Send 'inputs' instead of 'instances'"):
        predict_answer(protos, True)
    assert json.loads(predict_answer(protos, False))["outputs"] == (outputs if len(outputs) > 1 else outputs["a"])
