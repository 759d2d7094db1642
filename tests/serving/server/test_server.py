"""The embedded server, called with TensorFlow Serving's own stubs; it survives every bad request."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
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
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving import ModelServer
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.server.batching import BatchingParameters
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.prediction import MAX_ELEMENTS, MAX_ROWS
from laclrec_tf.serving.server.registry import ModelRegistry
from laclrec_tf.serving.version.manifest import write_manifest
from laclrec_tf.serving.version.warmup import write_warmup_requests

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
def test_predict_returns_the_live_answer_and_its_version(prediction, retriever, version):
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
        (
            "",
            {"history": proto(tf.string, [2**62] * 9, string_val=[b"a"])},
            "9 dimensions, but at most 8 are allowed",
        ),
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
        assert f"may have at most {MAX_ROWS} rows and {MAX_ELEMENTS} elements" in details


def test_the_largest_request_allowed_is_answered(prediction):
    repeated = proto(tf.string, [MAX_ROWS, 8], string_val=[b"007"])
    exclude = proto(tf.string, [1, 2**14], string_val=[b"item-9"])
    response = prediction.Predict(predict_request(signature="retrieve", history=repeated, k=2**31 - 1, exclude=exclude))
    items = tf.make_ndarray(response.outputs["item_ids"])
    assert items.shape == (MAX_ROWS, 20)
    assert not {b"007", b"item-9"} & set(items.ravel())


def test_bytes_that_are_no_request(channel, prediction):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    whole = predict_request(history=HISTORY).SerializeToString()
    for garbage in (b"\xff\xff\xff", whole[:-3], whole[3:]):
        code, details = refusal(raw, garbage)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details == "The message is not a tensorflow.serving.PredictRequest."


def test_the_log_has_the_version_and_the_signature(prediction, caplog):
    caplog.set_level("INFO", logger="laclrec_tf.serving.access")
    prediction.Predict(predict_request(signature="embed_history", history=HISTORY))
    refusal(prediction.Predict, predict_request(signature="nothing", history=HISTORY))
    told = [(line.signature, getattr(line, "version", None), line.code) for line in caplog.records]
    assert told == [("embed_history", 1, "OK"), ("nothing", None, "INVALID_ARGUMENT")]


def test_a_fault_of_the_server_is_internal_and_logged(prediction, monkeypatch, caplog):
    def fail(self, signature, inputs):
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(LoadedModel, "run_complete", fail)
        code, details = refusal(prediction.Predict, predict_request(history=HISTORY))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "Predict failed; see the server's log.")
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


# ---- the other methods -----------------------------------------------------------------------------------
def metadata_request(*fields: str, name: str = "shop") -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def test_metadata_has_the_inputs_of_signatures(prediction):
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
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Classify(classification_pb2.ClassificationRequest(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_configuration_that_cannot_be_served(prediction, models):
    request = model_management_pb2.ReloadConfigRequest()
    assert refusal(models.HandleReloadConfigRequest, request) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "The configuration must be a model_config_list.",
    )


def test_health(channel):
    check = health_pb2_grpc.HealthStub(channel).Check
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        assert check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
    code, _ = refusal(check, health_pb2.HealthCheckRequest(service="none"))
    assert code is grpc.StatusCode.NOT_FOUND


def test_reflection(channel):
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert set(services) == {
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    methods = pool.FindServiceByName("tensorflow.serving.PredictionService").methods_by_name
    assert methods["Predict"].input_type.fields_by_name["output_filter"].number == 3
    assert "GetModelStatus" in pool.FindServiceByName("tensorflow.serving.ModelService").methods_by_name


def test_a_malformed_example_is_the_callers_fault(channel, prediction):
    request = predict_request(signature="predict_examples", examples=[b"\xff\xff"])
    code, message = refusal(prediction.Predict, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_mutilated_requests(channel, prediction, seed):
    """Bits turned, pieces cut out, fields of nonsense: each is answered, with a status that says whose fault it is."""
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    generator = np.random.default_rng(seed)
    whole = predict_request(signature="retrieve", history=HISTORY, k=3, exclude=[["item-9"]]).SerializeToString()
    asked = []
    for _ in range(250):
        mutilated = bytearray(whole)
        for _ in range(generator.integers(1, 4)):
            place = generator.integers(len(mutilated))
            kind = generator.integers(3)
            if kind == 0:
                mutilated[place] ^= 1 << generator.integers(8)
            elif kind == 1:
                del mutilated[place : place + generator.integers(1, 9)]
            else:
                mutilated[place:place] = generator.bytes(generator.integers(1, 9))
        asked.append(raw.future(bytes(mutilated), timeout=60))
    codes = {answer.code() for answer in asked}
    theirs = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
    assert {code.name for code in codes} <= theirs and grpc.StatusCode.INVALID_ARGUMENT in codes


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


@pytest.mark.parametrize(
    "settings",
    [{"port": -1}, {"port": 65536}, {"poll_seconds": -1}, {"poll_seconds": float("nan")}, {"intra_op_threads": -1}],
)
def test_settings_out_of_range(settings, tmp_path):
    with pytest.raises(InputError, match=f"Argument `{next(iter(settings))}` must be .*Received: "):
        ModelServer("shop", tmp_path, **settings)


@pytest.mark.parametrize("arguments", [(), ("shop",), (None, "models/shop")])
def test_a_model_or_a_configuration_must_be_given(arguments):
    with pytest.raises(InputError, match="Give either `model_name` and `base_path`, or `config`."):
        ModelServer(*arguments)


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


def test_a_version_that_fails_its_warm_up_is_not_served(counting_folder):
    write_warmup_requests(counting_folder / "1", [predict_request(signature="gone", history=HISTORY)])
    write_manifest(counting_folder / "1")
    with pytest.raises(InputError, match="fails its own warm-up requests: The model has no signature 'gone'"):
        ModelServer("shop", counting_folder, port=0).start()


def test_the_newest_version_is_served_until_stopped_and_again_after(tmp_path, counting_version):
    for name in ("9", "10", ".partial-11"):
        shutil.copytree(counting_version, tmp_path / name)
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


def counted(response: predict_pb2.PredictResponse) -> list[int]:
    return list(response.outputs["count"].int_val)


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_versions_are_swapped_while_requests_run(counting_folder, add_version):
    with (
        ModelServer("counting", counting_folder, port=0, poll_seconds=0.02) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_request("counting", history=[["a", "b"]])
        seen = []

        def reaches(number: int) -> bool:
            answers = [predict.future(request, timeout=30) for _ in range(16)]
            assert all(counted(answer.result()) == [20] for answer in answers)
            seen.extend(answer.result().model_spec.version.value for answer in answers)
            return seen[-1] == number

        for number in (2, 3):
            add_version(number)
            wait_until(partial(reaches, number))
        shutil.rmtree(counting_folder / "3")
        wait_until(lambda: reaches(2))
        assert seen[0] == 1 and set(seen) == {1, 2, 3}


def test_the_check_for_versions_goes_on_after_a_failure(counting_folder, monkeypatch, caplog):
    twice = threading.Event()
    checks = []

    def refresh(registry: ModelRegistry) -> None:
        checks.append(1)
        if len(checks) == 2:
            twice.set()
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(ModelRegistry, "refresh", refresh)
    with ModelServer("counting", counting_folder, port=0, poll_seconds=0.001):
        assert twice.wait(30)
    assert "a bug" in caplog.text and "the next one is in 0.001 s" in caplog.text
    after_the_stop = len(checks)
    time.sleep(0.02)
    assert len(checks) == after_the_stop


def test_without_polling_nothing_changes(counting_folder, add_version):
    with (
        ModelServer("counting", counting_folder, port=0, poll_seconds=0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        add_version(2)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        config = model_management_pb2.ReloadConfigRequest(config=server.config)
        versions = lambda: [s.version for s in models.GetModelStatus(status_request("counting")).model_version_status]  # noqa: E731
        assert versions() == [1]
        assert models.HandleReloadConfigRequest(config, timeout=30).status.error_code == 0
        assert versions() == [2, 1]


def test_health_follows_the_models(counting_folder):
    with (
        ModelServer("counting", counting_folder, port=0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        models, health = model_service_pb2_grpc.ModelServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        reload = lambda config: models.HandleReloadConfigRequest(  # noqa: E731
            model_management_pb2.ReloadConfigRequest(config=config), timeout=30
        )
        check = lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=30).status  # noqa: E731
        assert check() == health_pb2.HealthCheckResponse.SERVING
        nothing = ModelServerConfig()
        nothing.model_config_list.SetInParent()
        reload(nothing)
        assert check() == health_pb2.HealthCheckResponse.NOT_SERVING
        pinned = ModelServerConfig.FromString(server.config.SerializeToString())
        pinned.model_config_list.config[0].model_version_policy.specific.versions.append(7)
        with pytest.raises(grpc.RpcError, match="holds no version 7, which the version policy") as caught:
            reload(pinned)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert check() == health_pb2.HealthCheckResponse.NOT_SERVING
        reload(server.config)
        assert check() == health_pb2.HealthCheckResponse.SERVING


def test_several_models_and_labels(counting_folder, counting_version):
    config = ModelServerConfig()
    config.model_config_list.config.add(name="counting", base_path=str(counting_folder), version_labels={"stable": 1})
    config.model_config_list.config.add(name="shop", base_path=str(counting_version.parent))
    with (
        ModelServer(port=0, config=config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_request("counting", history=[["a"]])
        request.model_spec.version_label = "stable"
        assert counted(predict(request)) == [10]
        assert counted(predict(predict_request("shop", history=[["a", "b"]]))) == [20]


def test_running_requests_end_while_the_server_stops(counting_folder):
    """The request waits half a second for others while the server stops."""
    batching = BatchingParameters(batch_timeout_micros=500_000)
    with (
        ModelServer("counting", counting_folder, port=0, batching=batching) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running = predict.future(predict_request("counting", history=[["a"]]))
        wait_until(lambda: server.api._running == 1)
        over = server.stop(grace=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert counted(running.result(timeout=30)) == [10]
        assert over.wait(30)
        assert refusal(predict, predict_request("counting", history=[["a"]]))[0] is grpc.StatusCode.UNAVAILABLE


def test_deadlines_and_cancelled_requests(counting_folder):
    batching = BatchingParameters(batch_timeout_micros=60_000_000, max_batch_size=2)
    with (
        ModelServer("counting", counting_folder, port=0, batching=batching) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_request("counting", history=[["a"]])
        with pytest.raises(grpc.RpcError) as caught:
            predict(request, timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: server.api._running == 0)  # the client may know of its deadline first
        gone = predict.future(request)
        wait_until(lambda: server.api._running == 1)
        gone.cancel()
        wait_until(lambda: server.api._running == 0)  # the version is not held any more
        answers = [predict.future(request) for _ in range(2)]
        assert [counted(answer.result(timeout=30)) for answer in answers] == [[10], [10]]


def test_limits_name_themselves(counting_folder):
    limits = RequestLimits(max_message_bytes=10_000, max_history_length=100, max_k=50)
    with (
        ModelServer("counting", counting_folder, port=0, limits=limits) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        for inputs, text in (
            ({"history": [["a" * 20_000]]}, "message larger than max"),
            ({"history": [["a"] * 101]}, "(max_history_length)"),
            ({"history": [["a"]], "k": 51}, "(max_k)"),
        ):
            code, details = refusal(predict, predict_request("counting", **inputs))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert text in details
        assert counted(predict(predict_request("counting", history=[["a"]], k=50))) == [50]


class RememberedMetrics:
    """Remembers all calls."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.states: list[tuple[str, int, str]] = []
        self.rows: list[int] = []

    def observe_request(self, method: str, model: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((method, model, code))

    def observe_batch(self, model: str, rows: int) -> None:
        self.rows.append(rows)

    def set_in_flight(self, n: int) -> None:
        assert n >= 0

    def set_version_state(self, model: str, version: int, state: str) -> None:
        self.states.append((model, version, state))


def test_metrics(counting_folder):
    metrics = RememberedMetrics()
    with (
        ModelServer("counting", counting_folder, port=0, metrics=metrics) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        predict(predict_request("counting", history=[["a"], ["b"]]))
        refusal(predict, predict_request("counting", history=[["poison"]]))
        refusal(channel.unary_unary("/tensorflow.serving.PredictionService/Predict"), b"\xff")
    assert metrics.requests == [
        ("Predict", "counting", "OK"),
        ("Predict", "counting", "INVALID_ARGUMENT"),
        ("Predict", "", "INVALID_ARGUMENT"),
    ]
    assert metrics.rows == [2, 1]
    assert [state for *_, state in metrics.states] == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


def test_it_listens_before_the_models_are_loaded(counting_folder, caplog):
    said = []

    class Listening(RememberedMetrics):
        def set_version_state(self, model: str, version: int, state: str) -> None:
            if state == "LOADING":
                with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
                    said.append(answer.status)
                    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
                    said.append(refusal(predict, predict_request("counting", history=[["a"]]))[0])

    caplog.set_level("INFO", logger="laclrec_tf.serving.access")
    server = ModelServer("counting", counting_folder, port=0, metrics=Listening())
    with server:
        assert said == [health_pb2.HealthCheckResponse.NOT_SERVING, grpc.StatusCode.UNAVAILABLE]
    (line,) = [record for record in caplog.records if record.name == "laclrec_tf.serving.access"]
    assert (line.code, line.levelname) == ("UNAVAILABLE", "INFO")  # as expected, so no warning


def test_waiting_ends_when_stopped(counting_folder):
    with ModelServer("counting", counting_folder, port=0) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.wait)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        server.stop()
        waiting.result(timeout=30)


def test_no_model_code_is_needed(exported: Path, tmp_path: Path) -> None:
    """The SavedModel is enough: a server process works where layers and models cannot be imported."""
    import subprocess
    import sys

    item = (exported / "assets" / "vocabulary.txt").read_text().split("\n")[0]
    script = (
        "import sys\n"
        "sys.modules |= dict.fromkeys('laclrec_tf.' + room for room in ('models', 'layers', 'losses', 'ops'))\n"
        "from laclrec_tf.serving import RetrievalClient\n"
        "from laclrec_tf.serving.server.server import ModelServer\n"
        "with ModelServer('shop', sys.argv[1], port=0) as server:\n"
        "    (answer,) = RetrievalClient(f'localhost:{server.port}', 'shop').recommend([sys.argv[2]], k=3)\n"
        "print(len(answer.item_ids))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(exported.parent), item],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert (process.returncode, process.stdout.strip()) == (0, "3"), process.stderr
