"""The embedded server, asked with TensorFlow Serving's own stubs; every refusal leaves it alive."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from laclrec_tf.errors import InputError
from laclrec_tf.serving import ModelServer, services
from laclrec_tf.serving.tensor_protos import MAX_ELEMENTS, MAX_ROWS, to_proto
from laclrec_tf.serving.warmup import write_warmup_requests

HISTORY = tf.constant([["007", "unknown", "PAD"], ["", "", ""]])


@pytest.fixture(scope="module")
def channel(target: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target) as channel:
        yield channel


@pytest.fixture
def prediction(channel: grpc.Channel) -> Iterator[Any]:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    yield stub
    # Whatever the test sent, the next request is answered.
    assert stub.Predict(predict_request(history=HISTORY)).outputs["item_ids"].tensor_shape.dim[0].size == 2


@pytest.fixture
def models(channel: grpc.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(
    name: str = "shop", signature: str = "", version: int | None = None, **inputs: Any
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for key, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[key].CopyFrom(proto)
    return request


def refusal(method: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=30)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


# ---- Predict ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, 1])
def test_predict_gives_the_live_answer_and_says_who_gave_it(prediction, retriever, version):
    response = prediction.Predict(predict_request(version=version, history=HISTORY))
    expected = retriever.serving_default(HISTORY)
    assert tf.make_ndarray(response.outputs["item_ids"]).tolist() == expected["item_ids"].numpy().tolist()
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["scores"]), expected["scores"], rtol=1e-5, atol=1e-5)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("shop", 1, "serving_default")


def test_values_come_in_the_fields_that_tensorflow_serving_uses(prediction):
    outputs = prediction.Predict(predict_request(history=HISTORY)).outputs
    assert len(outputs["scores"].float_val) == len(outputs["item_ids"].string_val) == 20


def test_every_signature_by_name(prediction):
    request = predict_request(signature="retrieve", history=HISTORY, k=3, exclude=[["item-9"]])
    response = prediction.Predict(request)
    assert response.model_spec.signature_name == "retrieve"
    assert tf.make_ndarray(response.outputs["item_ids"]).shape == (2, 3)
    response = prediction.Predict(predict_request(signature="augment", history=HISTORY))
    assert tf.make_ndarray(response.outputs["operations"]).shape == (2, 2)


def test_output_filter(prediction):
    request = predict_request(history=HISTORY)
    request.output_filter.append("scores")
    assert list(prediction.Predict(request).outputs) == ["scores"]
    request.output_filter.append("scores")
    assert refusal(prediction.Predict, request) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Argument `output_filter` must name outputs, each once: filled, item_ids, scores, unknown. "
        "Received: scores, scores.",
    )
    request.output_filter[:] = ["ranks"]
    assert refusal(prediction.Predict, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_another_name_or_version_is_not_found(prediction):
    for request, text in (
        (predict_request(name="house", history=HISTORY), "Latest(house). Served here: shop, version 1."),
        (predict_request(version=2, history=HISTORY), "Specific(shop, 2). Served here: shop, version 1."),
        (predict_request(version=0, history=HISTORY), "Specific(shop, 0). Served here: shop, version 1."),
        (predict_request(name="", history=HISTORY), "Latest(). Served here: shop, version 1."),
    ):
        code, details = refusal(prediction.Predict, request)
        assert (code, details) == (grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {text}")


def test_a_version_label_is_not_known(prediction):
    request = predict_request(history=HISTORY)
    request.model_spec.version_label = "stable"
    assert refusal(prediction.Predict, request) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )


def test_a_request_for_no_model(prediction):
    assert refusal(prediction.Predict, predict_pb2.PredictRequest()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def proto(dtype: tf.DType, shape: list[int], **values: Any) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


UNKNOWN_RANK = proto(tf.string, [], string_val=[b"007"])
UNKNOWN_RANK.tensor_shape.unknown_rank = True
NO_DTYPE = proto(tf.string, [1, 1], string_val=[b"007"])
NO_DTYPE.dtype = 0
STRANGE_DTYPE = proto(tf.string, [1, 1], string_val=[b"007"])
STRANGE_DTYPE.dtype = 99


@pytest.mark.parametrize(
    ("signature", "inputs", "text"),
    [
        (
            "ranking",
            {"history": [["007"]]},
            "no signature 'ranking'. It has: augment, embed_history, embed_items,",
        ),
        ("", {}, "takes the inputs history. Missing: history. Superfluous: none."),
        ("", {"history": [["007"]], "k": 3}, "takes the inputs history. Missing: none. Superfluous: k."),
        ("retrieve", {"k": 3}, "takes the inputs allow, exclude, exclude_history, history, k. Missing: history."),
        ("", {"History": [["007"]]}, "Missing: history. Superfluous: History."),
        ("", {"history": [[7]]}, "must be string of shape [any, any]. Received: int32 of shape [1, 1]."),
        ("", {"history": ["007"]}, "must be string of shape [any, any]. Received: string of shape [1]."),
        ("", {"history": "007"}, "must be string of shape [any, any]. Received: string of shape []."),
        (
            "retrieve",
            {"history": [["007"]], "exclude": [""], "k": 3},
            "'exclude' of signature 'retrieve' must be string of shape [any, any]. Received: string of shape [1].",
        ),
        ("retrieve", {"history": [["007"]], "k": 3.0}, "must be int32 of any shape. Received: float32 of shape []."),
        ("retrieve", {"history": [["007"]], "k": [[3]]}, "k must be one value, or one for each row"),
        (
            "retrieve",
            {"history": [["007"]], "exclude": [[""]], "k": 0},
            "k must be at least 1. Received: k = 0",
        ),
        ("retrieve", {"history": [["007"]], "exclude": [[""]] * 2, "k": 1}, "exclude must have one row"),
        ("", {"history": proto(tf.string, [1, 1], string_val=[b"a", b"b"])}, "2 values for the 1 elements"),
        ("", {"history": proto(tf.string, [1, -1], string_val=[b"a"])}, "shape [1, -1] is not fully known"),
        ("", {"history": proto(tf.string, [1, 1], tensor_content=b"a")}, "'history' is a malformed tensor"),
        ("", {"history": UNKNOWN_RANK}, "'history' is a malformed tensor"),
        ("", {"history": NO_DTYPE}, "'history' is a malformed tensor"),
        ("", {"history": STRANGE_DTYPE}, "'history' is a malformed tensor: unknown dtype 99."),
        (
            "retrieve",
            {"history": [["007"]], "exclude": [[""]], "k": proto(tf.int32, [], tensor_content=b"\1")},
            "'k' is a malformed tensor",
        ),
    ],
)
def test_what_does_not_fit_is_an_invalid_argument(prediction, signature, inputs, text):
    code, details = refusal(prediction.Predict, predict_request(signature=signature, **inputs))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in details


@pytest.mark.parametrize("shape", [[1, MAX_ELEMENTS + 1], [MAX_ROWS + 1, 1], [2**40, 2**40], [0, 2**62]])
def test_a_few_bytes_cannot_ask_for_a_huge_tensor(prediction, shape):
    request = predict_request(history=proto(tf.string, shape, string_val=[b"007"]))
    if 0 in shape:  # empty, however wide
        assert refusal(prediction.Predict, request)[0] is grpc.StatusCode.INVALID_ARGUMENT
    else:
        code, details = refusal(prediction.Predict, request)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"may have {MAX_ROWS} rows and {MAX_ELEMENTS} elements" in details


def test_the_largest_request_allowed_is_answered(prediction):
    repeated = proto(tf.string, [MAX_ROWS, 8], string_val=[b"007"])
    exclude = proto(tf.string, [1, 2**20], string_val=[b"item-9"])
    response = prediction.Predict(predict_request(signature="retrieve", history=repeated, k=2**31 - 1, exclude=exclude))
    items = tf.make_ndarray(response.outputs["item_ids"])
    assert items.shape == (MAX_ROWS, 20)
    assert not {b"007", b"item-9"} & set(items.ravel())


def test_bytes_that_are_no_request(channel, prediction):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    whole = predict_request(history=HISTORY).SerializeToString()
    for garbage in (b"\xff\xff\xff", whole[:-3], whole[3:]):
        with pytest.raises(grpc.RpcError):
            raw(garbage, timeout=30)


def test_a_fault_of_the_server_is_internal_and_logged(prediction, monkeypatch, caplog):
    def fail(model, request):
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(services, "predict", fail)
        code, details = refusal(prediction.Predict, predict_request(history=HISTORY))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "Predict failed; the server's log says why.")
    assert "a bug" in caplog.text


def test_requests_at_the_same_time(prediction, retriever, vocabulary):
    def ask(item: str) -> list[bytes]:
        response = prediction.Predict(predict_request(history=[[item]]), timeout=60)
        return list(response.outputs["item_ids"].string_val)

    items = list(vocabulary.items) * 5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, items))
    expected = retriever.serving_default(tf.constant([[item] for item in items]))["item_ids"].numpy()
    assert answers == [list(row) for row in expected]


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -np.inf]], np.float32),
        np.array([], np.int32),
        np.array([[b"a", b""]], object),
        np.array(True),
        np.array([2**40]),
        np.array([0.1]),
        np.array([3], np.uint8),
    ],
)
def test_written_tensors_read_back(array):
    written = tf.make_ndarray(to_proto(array))
    assert written.dtype == array.dtype and written.shape == array.shape
    np.testing.assert_array_equal(written, array)


# ---- the other methods -----------------------------------------------------------------------------------


def metadata_request(*fields: str, name: str = "shop") -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def test_metadata_says_what_signatures_take(prediction):
    response = prediction.GetModelMetadata(metadata_request("signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == ("shop", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    retrieve = signatures.signature_def["retrieve"]
    assert {name: info.dtype for name, info in retrieve.inputs.items()} == {
        "history": tf.string.as_datatype_enum,
        "k": tf.int32.as_datatype_enum,
        "exclude": tf.string.as_datatype_enum,
        "allow": tf.string.as_datatype_enum,
        "exclude_history": tf.bool.as_datatype_enum,
    }
    assert retrieve.method_name == "tensorflow/serving/predict"


def test_metadata_of_something_else(prediction):
    for fields in ((), ("signature",), ("signature_def", "more")):
        code, details = refusal(prediction.GetModelMetadata, metadata_request(*fields))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "signature_def. Received: " in details
    code, _ = refusal(prediction.GetModelMetadata, metadata_request("signature_def", name="house"))
    assert code is grpc.StatusCode.NOT_FOUND


def status_request(name: str = "shop", version: int | None = None) -> get_model_status_pb2.GetModelStatusRequest:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return request


@pytest.mark.parametrize("version", [None, 1])
def test_status(models, version):
    (status,) = models.GetModelStatus(status_request(version=version)).model_version_status
    assert status.version == 1
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_status_of_something_else(models):
    assert refusal(models.GetModelStatus, status_request("house"))[0] is grpc.StatusCode.NOT_FOUND
    assert refusal(models.GetModelStatus, status_request(version=7))[0] is grpc.StatusCode.NOT_FOUND


def test_methods_that_are_not_there(prediction, models):
    for method, request in (
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            method(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ---- starting and stopping -------------------------------------------------------------------------------


def test_a_port_in_use(server, exported):
    with pytest.raises(InputError, match=rf"Cannot listen on 127.0.0.1:{server.port}: the port is in use") as caught:
        ModelServer("shop", exported.parent, port=server.port).start()
    assert "\n" not in str(caught.value)


def test_a_port_that_another_program_uses(exported):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="the port is in use"):
            ModelServer("shop", exported.parent, port=taken.getsockname()[1]).start()


@pytest.mark.parametrize("settings", [{"port": -1}, {"port": 65536}, {"max_workers": 0}])
def test_settings_out_of_range(settings, tmp_path):
    with pytest.raises(InputError, match=f"Argument `{next(iter(settings))}` must be .*Received: "):
        ModelServer("shop", tmp_path, **settings)


def test_nothing_to_serve(tmp_path, exported):
    for path, text in (
        (tmp_path / "missing", "is no folder"),
        (tmp_path, "holds no version of a model"),
        (exported, "is one version of a model. Give the folder above"),
    ):
        with pytest.raises(InputError, match=text):
            ModelServer("shop", path, port=0).start()


def test_damaged_versions(tmp_path, exported):
    version = tmp_path / "4"
    version.mkdir()
    with pytest.raises(InputError, match=r"4 is not a SavedModel: saved_model.pb is missing"):
        ModelServer("shop", tmp_path, port=0).start()
    (version / "saved_model.pb").write_bytes(b"not a proto")
    with pytest.raises(InputError, match="saved_model.pb is damaged"):
        ModelServer("shop", tmp_path, port=0).start()
    shutil.copy(exported / "saved_model.pb", version)
    with pytest.raises(InputError, match="Cannot load .*4: .* Export the model again.") as caught:
        ModelServer("shop", tmp_path, port=0).start()
    assert "\n" not in str(caught.value)


def test_a_version_that_fails_its_warm_up_is_not_served(tmp_path, exported):
    shutil.copytree(exported, tmp_path / "1")
    write_warmup_requests(tmp_path / "1", [predict_request(signature="gone", history=HISTORY)])
    with pytest.raises(InputError, match="fails its own warm-up requests: The model has no signature 'gone'"):
        ModelServer("shop", tmp_path, port=0).start()


def test_the_newest_version_is_served_until_stopped_and_again_after(tmp_path, exported):
    for name in ("9", "10", ".partial-11"):
        shutil.copytree(exported, tmp_path / name)
    shutil.rmtree(tmp_path / "10" / "assets.extra")  # warm-up requests are optional
    server = ModelServer("other-name", tmp_path, port=0)
    request = predict_request(name="other-name", history=HISTORY)
    for _ in range(2):
        port = server.start()
        assert server.start() == port != 0
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            assert predict(request, timeout=30).model_spec.version.value == 10
            assert server.stop(grace=5).wait(timeout=30)
            assert refusal(predict, request)[0] is grpc.StatusCode.UNAVAILABLE
        server.wait()
        assert server.stop().is_set()


def test_waiting_ends_when_stopped(exported):
    with ModelServer("shop", exported.parent, port=0) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.wait)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        server.stop()
        waiting.result(timeout=30)


def test_no_model_code_is_needed(exported: Path, tmp_path: Path) -> None:
    """A server process imports neither layers nor models: the SavedModel is enough."""
    import subprocess
    import sys

    script = (
        "import sys; from laclrec_tf.serving.server import ModelServer\n"
        "with ModelServer('shop', sys.argv[1], port=0): pass\n"
        "print(sorted(m.split('.')[1] for m in sys.modules if m.count('.') == 1 and m.startswith('laclrec_tf.')))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(exported.parent)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "['errors', 'item_vocabulary', 'serving']"
