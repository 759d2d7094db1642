"""One tensor as JSON and back."""

from __future__ import annotations

import json
import math

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.rest import json_tensors
from laclrec_tf.serving.rest.json_tensors import json_to_proto, proto_to_json


def info(dtype: tf.DType, shape: list[int | None] | None) -> meta_graph_pb2.TensorInfo:
    spec = meta_graph_pb2.TensorInfo(dtype=dtype.as_datatype_enum)
    spec.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return spec


def array(value, dtype: tf.DType, shape: list[int | None] | None) -> np.ndarray:
    return tf.make_ndarray(json_to_proto("x", value, info(dtype, shape)))


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "expected"),
    [
        ([["a", "b"], ["c"], []], tf.string, [None, None], [[b"a", b"b"], [b"c", b""], [b"", b""]]),
        ([["a", ""]], tf.string, [None, 2], [[b"a", b""]]),
        ([[], []], tf.string, [None, None], [[], []]),
        ([{"b64": "/wA="}, {"b64": "/w"}], tf.string, [None], [b"\xff\x00", b"\xff"]),
        ("ü", tf.string, [], "ü".encode()),
        ([[["a"], ["b", "c"]]], tf.string, [None, None, None], [[[b"a", b""], [b"b", b"c"]]]),
        (3, tf.int32, None, 3),
        ([3, 4], tf.int32, None, [3, 4]),
        ([2**40], tf.int64, [None], [2**40]),
        ([1, 0.5], tf.float32, [None], [1.0, 0.5]),
        (True, tf.bool, [], True),
    ],
)
def test_lists_become_tensors(value, dtype, shape, expected):
    received = array(value, dtype, shape)
    assert received.tolist() == expected
    assert received.dtype == dtype.as_numpy_dtype


def test_numbers_that_are_not_finite_are_numbers():
    assert array(json.loads("[NaN, Infinity, -Infinity]"), tf.float32, [None]).tolist()[1:] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "text"),
    [
        ([["a"], ["b", "c"]], tf.string, [None, 1], "lists of different lengths on axis 1: [1, 2]"),
        ([[["a"]], []], tf.string, [None, None, None], "lists of different lengths on axis 1: [0, 1]"),
        ([[1], [2, 3]], tf.int32, [None, None], "lists of different lengths on axis 1"),
        (["a"], tf.string, [], "must be one value and not a list. Received: ['a']."),
        ("a", tf.string, [None], "must be a list. Received: 'a'."),
        (["a"], tf.string, [None, None], "must be a list of lists. Received: ['a']."),
        ([["a"], "b"], tf.string, [None, None], "must be a list of lists"),
        ([["a", ["b"]]], tf.string, [None, None], "must be a list of lists"),
        ([[[[[[[[[1]]]]]]]]], tf.int32, None, "may have at most 8 nested lists. Received: 9."),
        (True, tf.int32, [], "must be int32. Received: True."),
        (1, tf.bool, [], "must be bool. Received: 1."),
        (1.0, tf.int64, [], "must be int64. Received: 1.0."),
        (None, tf.float32, [], "must be float32. Received: None."),
        ({"b64": "aa"}, tf.int32, [], "must be int32. Received: {'b64': 'aa'}."),
        ({"b64": "aa", "more": 1}, tf.string, [], "must be string"),
        ({"b64": "a"}, tf.string, [], "'b64' that is not base64. Received: 'a'."),
        (2**31, tf.int32, [], "out of the range of int32"),
        (-(2**63) - 1, tf.int64, [], "out of the range of int64"),
        (1e39, tf.float32, [], "out of the range of float32"),
        (10**400, tf.float64, [], "out of the range of float64"),
    ],
)
def test_what_does_not_fit_is_an_invalid_argument(value, dtype, shape, text):
    with pytest.raises(ServingError) as caught:
        json_to_proto("x", value, info(dtype, shape))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith("Input 'x'") and text in caught.value.message


def test_one_long_row_cannot_blow_up_many_short_ones(monkeypatch):
    monkeypatch.setattr(json_tensors, "MAX_ELEMENTS", 12)
    assert array([["a"] * 4, [], []], tf.string, [None, None]).shape == (3, 4)
    with pytest.raises(ServingError, match="Received: 3 rows, the longest of 5") as caught:
        json_to_proto("x", [["a"] * 5, [], []], info(tf.string, [None, None]))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_dtype_that_json_has_no_values_of():
    with pytest.raises(ServingError, match="is complex64, which JSON cannot hold") as caught:
        json_to_proto("x", 1, info(tf.complex64, []))
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "value", "dtype", "expected"),
    [
        ("scores", [[0.2, 1.0, -np.inf]], tf.float32, "[[0.2, 1.0, -Infinity]]"),
        ("scores", [0.1, np.nan, np.inf], tf.float64, "[0.1, NaN, Infinity]"),
        ("scores", 16777216.0, tf.float32, "16777216.0"),
        ("item_ids", [["ü", ""]], tf.string, '[["ü", ""]]'),
        ("item_ids", [b"\xff", b"a"], tf.string, '[{"b64": "/w=="}, "a"]'),
        ("image_bytes", [b"a"], tf.string, '[{"b64": "YQ=="}]'),
        ("item_ids", "a", tf.string, '"a"'),
        ("known", [True, False], tf.bool, "[true, false]"),
        ("filled", [3, 0], tf.int32, "[3, 0]"),
        ("item_ids", np.zeros((2, 0)), tf.float32, "[[], []]"),
    ],
)
def test_tensors_become_json(name, value, dtype, expected):
    written = json.dumps(proto_to_json(name, tf.make_tensor_proto(value, dtype)), ensure_ascii=False)
    assert written == expected


@given(st.floats(width=32))
def test_a_float32_comes_back_as_it_was(number):
    written = json.loads(json.dumps(proto_to_json("x", tf.make_tensor_proto([number], tf.float32))))
    np.testing.assert_array_equal(array(written, tf.float32, [None]), np.array([number], np.float32))


@given(st.lists(st.binary(), min_size=1))
def test_any_bytes_come_back_as_they_were(values):
    written = json.loads(json.dumps(proto_to_json("x", tf.make_tensor_proto(values, tf.string))))
    assert list(json_to_proto("x", written, info(tf.string, [None])).string_val) == values


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), min_size=1))
def test_histories_of_any_length_keep_their_items_in_front(histories):
    padded = array(histories, tf.string, [None, None]).tolist()
    width = max(map(len, histories))
    expected = [[item.encode() for item in history] + [b""] * (width - len(history)) for history in histories]
    assert padded == expected
