"""Tensors of requests: complete, abbreviated, and malformed."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.server import prediction
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.prediction import MAX_REPEATED, VALUE_FIELDS, read_input, read_request, write_output


def proto_of(dtype: int, shape: list[int], **values) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def written(array: np.ndarray) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto()
    write_output(array, proto)
    return proto


@pytest.mark.parametrize("kind", [*sorted(VALUE_FIELDS, key=str), tf.uint8], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_what_is_written_is_read(kind, shape):
    if kind is tf.string:
        array = np.full(shape, b"a\xff", object)
    else:
        array = np.arange(np.prod(shape)).reshape(shape).astype(kind.as_numpy_dtype)
    np.testing.assert_array_equal(tf.make_ndarray(written(array)), array)
    for proto in (written(array), tf.make_tensor_proto(array, kind)):
        read = read_input("x", proto)
        assert read.dtype == array.dtype and read.shape == array.shape
        assert read.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (proto_of(7, [1, 3], string_val=[b"a", b"b"]), [[b"a", b"b", b"b"]]),
        (proto_of(7, [2]), [b"", b""]),
        (proto_of(3, [3], int_val=[4]), [4, 4, 4]),
        (proto_of(10, [2]), [False, False]),
        (proto_of(7, [0, 3]), []),
        # length 1 and length 2, then the strings: what TensorFlow packs strings into
        (proto_of(7, [2], tensor_content=b"\x01\x02abc"), [b"a", b"bc"]),
        (proto_of(4, [2], tensor_content=b"\x07\x08"), [7, 8]),
    ],
)
def test_what_is_left_out_is_filled_in_as_tensorflow_does(proto, values):
    assert read_input("x", proto).tolist() == values


dimensions = st.lists(st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**62, -(2**63)])), max_size=4)


@given(
    dtype=st.integers(0, 130),
    shape=dimensions,
    strings=st.lists(st.binary(max_size=3), max_size=5),
    integers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    content=st.binary(max_size=12),
)
def test_nonsense_is_read_or_refused(dtype, shape, strings, integers, content):
    proto = proto_of(dtype, shape, string_val=strings, int_val=integers, tensor_content=content)
    try:
        array = read_input("x", proto)
    except ServingError as error:
        assert error.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert error.message.startswith("Input 'x' ")
    else:
        assert list(array.shape) == shape


HISTORY = proto_of(7, [1, 1], string_val=[b"a"])
FEW_BYTES_FOR_MANY_ELEMENTS = [
    # inputs, status, message
    ({"history": proto_of(7, [1024, 4096], string_val=[b"a"])}, "RESOURCE_EXHAUSTED", "At most 16384 may be left out"),
    ({"history": proto_of(7, [1024, 4096], tensor_content=b"\1a")}, "INVALID_ARGUMENT", "does not fit dtype string"),
    ({"history": proto_of(7, [1024, 4096])}, "RESOURCE_EXHAUSTED", "has 0 values for the 4194304 elements"),
    ({"history": proto_of(7, [4, 1024, 1024])}, "INVALID_ARGUMENT", "must be string of shape"),
    ({"history": proto_of(21, [1024, 4096])}, "INVALID_ARGUMENT", "Received: variant of shape"),
    ({"history": proto_of(19, [1024, 4096], half_val=[1])}, "INVALID_ARGUMENT", "Received: float16 of shape"),
    ({"history": proto_of(3, [1024, 4096], int_val=[1])}, "INVALID_ARGUMENT", "Received: int32 of shape"),
    ({"history": HISTORY, "k": proto_of(3, [1024, 4096], int_val=[1])}, "INVALID_ARGUMENT", r"shape \[\]. Received"),
    ({"history": HISTORY, "more": proto_of(7, [1024, 4096])}, "INVALID_ARGUMENT", "Superfluous: more"),
    ({"k": proto_of(7, [1024, 4096])}, "INVALID_ARGUMENT", "Missing: history"),
]


@pytest.fixture(scope="module")
def counting_model(counting_version) -> LoadedModel:
    model = LoadedModel(counting_version)
    yield model
    model.close()


def request_of(inputs: dict[str, tensor_pb2.TensorProto]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    for name, proto in inputs.items():
        request.inputs[name].CopyFrom(proto)
    return request


@pytest.mark.parametrize(("inputs", "code", "text"), FEW_BYTES_FOR_MANY_ELEMENTS)
def test_a_few_bytes_build_nothing_large(counting_model, monkeypatch, inputs, code, text):
    """All that is declared is checked first. Building 4 million strings would stop the server for a second."""
    built = []

    def read_array(proto: tensor_pb2.TensorProto) -> np.ndarray:
        built.append(np.prod([dim.size for dim in proto.tensor_shape.dim]))
        return np.zeros(0)

    monkeypatch.setattr(prediction, "read_array", read_array)
    monkeypatch.setattr(tf.io, "parse_tensor", lambda content, dtype: read_array(proto_of(7, [2**22])))
    with pytest.raises(ServingError, match=text) as caught:
        read_request(counting_model, request_of(inputs))
    assert caught.value.code.name == code
    assert sum(built) <= 1


def test_limits_apply_to_what_is_declared(counting_model, monkeypatch):
    monkeypatch.setattr(prediction, "read_array", None)
    many = proto_of(7, [1, 5], string_val=[b"a"] * 5)
    with pytest.raises(ServingError, match=r"at most 4 columns \(max_history_length\). Received: shape \[1, 5\]"):
        read_request(counting_model, request_of({"history": many}), RequestLimits(max_history_length=4))


def test_the_last_value_is_repeated_so_many_times():
    assert read_input("x", proto_of(7, [1, MAX_REPEATED + 1], string_val=[b"a"])).size == MAX_REPEATED + 1
    with pytest.raises(ServingError, match=f"At most {MAX_REPEATED} may be left out. Send all values.") as caught:
        read_input("x", proto_of(7, [1, MAX_REPEATED + 2], string_val=[b"a"]))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
