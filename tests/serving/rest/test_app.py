"""The REST API: JSON in, the live model's answer out; every refusal is TensorFlow Serving's JSON and status."""

from __future__ import annotations

import gzip
import json
import logging
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.rest.app import METRICS_ROUTE, rest_app
from laclrec_tf.serving.server.metrics import ServerMetrics

PREDICT = "/v1/models/shop:predict"
HISTORIES = [["007", "unknown", "PAD"], ["テント"], []]
PADDED = [["007", "unknown", "PAD"], ["テント", "", ""], ["", "", ""]]


@pytest.fixture
def web(api) -> TestClient:
    return TestClient(rest_app(api))


def live(retriever, signature: str, **inputs: Any) -> dict[str, Any]:
    """The live model's answer, as JSON would hold it."""
    outputs = retriever.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: as_json(output.numpy()) for name, output in outputs.items()}


def as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return as_json(value.tolist())
    if isinstance(value, list):
        return [as_json(entry) for entry in value]
    return value.decode() if isinstance(value, bytes) else value


def assert_same(received: Any, expected: Any) -> None:
    """Compare, numbers within a small tolerance: the SavedModel may add in another order."""
    if isinstance(expected, dict):
        assert set(received) == set(expected)
        for name in expected:
            assert_same(received[name], expected[name])
    elif isinstance(expected, list):
        assert len(received) == len(expected)
        for one, other in zip(received, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert received == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert received == expected


def error(response, status: int) -> str:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert list(document) == ["error"]
    assert "\n" not in document["error"] and "Traceback" not in document["error"]
    return document["error"]


# ---- predict ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instances",
    [HISTORIES, [{"history": history} for history in HISTORIES], PADDED],
    ids=["plain", "named", "filled up"],
)
def test_row_format_gives_the_live_answer(web, retriever, instances):
    response = web.post(PREDICT, json={"instances": instances})
    assert response.status_code == 200
    expected = live(retriever, "serving_default", history=PADDED)
    rows = [{name: values[row] for name, values in expected.items()} for row in range(3)]
    assert_same(response.json(), {"predictions": rows})


@pytest.mark.parametrize("inputs", [HISTORIES, {"history": HISTORIES}], ids=["plain", "named"])
def test_columnar_format_gives_the_live_answer(web, retriever, inputs):
    response = web.post(PREDICT, json={"inputs": inputs})
    assert_same(response.json(), {"outputs": live(retriever, "serving_default", history=PADDED)})


def test_a_signature_with_a_scalar_by_name(web, retriever):
    inputs = {"history": [["007"]], "k": 3, "exclude": [["item-9", "-1"]]}
    response = web.post(PREDICT, json={"signature_name": "retrieve", "inputs": inputs})
    expected = live(retriever, "retrieve", **inputs)
    assert_same(response.json(), {"outputs": expected})
    assert len(expected["item_ids"][0]) == 3


def test_parameters_hold_inputs_for_all_instances_and_the_signature(web, retriever):
    parameters = {"signature_name": "retrieve", "k": 2, "exclude": [["item-9"]]}
    instances = [{"history": ["007"]}, {"history": ["PAD", "-1"]}]
    response = web.post(PREDICT, json={"instances": instances, "parameters": parameters})
    expected = live(retriever, "retrieve", history=[["007", ""], ["PAD", "-1"]], k=2, exclude=[["item-9"]])
    assert_same([row["item_ids"] for row in response.json()["predictions"]], expected["item_ids"])


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("retrieve", {"history": [["007"], ["?"]], "k": 25, "exclude": [["item-9", "PAD"]]}),
        ("retrieve", {"history": [["007"]], "allow": [["?"]]}),
        ("similar_items", {"items": ["007", "?"], "k": 20}),
        ("rank", {"history": [["007"], [""]], "candidates": [["PAD", "?", ""]]}),
    ],
)
def test_slots_without_an_item_are_json_for_strict_parsers(web, signature, inputs):
    response = web.post(PREDICT, json={"signature_name": signature, "inputs": inputs})
    assert response.status_code == 200
    outputs = json.loads(response.content, parse_constant=pytest.fail)["outputs"]  # called for Infinity and NaN
    assert outputs["scores"][-1][-1] == -1e30


def test_scores_of_minus_infinity_are_a_bare_word(api, monkeypatch):
    response = predict_pb2.PredictResponse()
    response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[0.2, -np.inf]], tf.float32))
    monkeypatch.setattr(api, "predict", lambda request, timeout=None: response)
    answer = TestClient(rest_app(api)).post(PREDICT, json={"instances": [["007"]]})
    assert answer.content == b'{"predictions": [[0.2, -Infinity]]}'
    assert answer.json() == {"predictions": [[0.2, -np.inf]]}


@pytest.mark.parametrize("path", ["/v1/models/shop/versions/1", "/v1/models/shop/labels/stable", "/V1/MODELS/shop"])
def test_a_version_or_a_label_in_the_path(web, api, path):
    assert web.post(f"{path}:predict", json={"instances": [["007"]]}).status_code == 200
    (request,) = api.requests
    spec = request.model_spec
    assert (spec.version.value, spec.version_label) == (
        1 if "versions" in path else 0,
        "stable" if "lab" in path else "",
    )
    assert spec.signature_name == "serving_default"


def test_the_time_left_goes_to_the_model(api):
    TestClient(rest_app(api, timeout=7.0)).post(PREDICT, json={"instances": [["007"]]})
    (timeout,) = api.timeouts
    assert timeout is not None and 0 < timeout < 7


def test_gzip_is_unpacked(web):
    body = json.dumps({"instances": [["007"]]}).encode()
    plain = web.post(PREDICT, content=body)
    packed = web.post(PREDICT, content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert packed.status_code == 200 and packed.json() == plain.json()


# ---- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: Expecting value at offset: 0 (line 1, column 1)"),
        (b'{"instances": [["a"}', "Expecting ',' delimiter at offset: 19 (line 1, column 20)"),
        (b'{"instances":\n [["a"]] x}', "at offset: 23 (line 2, column 10)"),
        (b'{"instances": [["\xff"]]}', "invalid UTF-8 at offset: 17"),
        (b'{"instances": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"1" * 5000 + b"}", "a number has too many digits"),
        (b"[]", "must be a JSON object. Received: []."),
        (b"{}", "must have one of the keys 'instances' and 'inputs'"),
        (b'{"instances": [["a"]], "inputs": [["a"]]}', "must have one of the keys"),
        (b'{"instances": []}', "at least one row. Received: []."),
        (b'{"instances": "a"}', "at least one row. Received: 'a'."),
        (b'{"instances": ["a"]}', "Input 'history' must be a list of lists. Received: ['a']."),
        (b'{"instances": [[["a"]]]}', "must be a list of lists"),
        (b'{"instances": [[7]]}', "Input 'history' must be string. Received: 7."),
        (b'{"instances": [[null]]}', "Input 'history' must be string. Received: None."),
        (b'{"instances": [["\\ud800"]]}', "half of a surrogate pair"),
        (b'{"instances": [[{"b64": "?"}]]}', "'b64' that is not base64"),
        (b'{"instances": [{"story": ["a"]}]}', "Missing: history. Superfluous: story."),
        (b'{"instances": [{"history": ["a"]}, {"story": ["a"]}]}', "Item 0 has: history. Item 1 has: story."),
        (b'{"instances": [{"history": ["a"]}, ["a"]]}', "must be objects with named inputs, or none of them"),
        (b'{"instances": [{"history": ["a"]}], "parameters": {"history": 1}}', "both give: history"),
        (b'{"instances": [["a"]], "parameters": 3}', "'parameters' must be an object. Received: 3."),
        (b'{"instances": [["a"]], "signature_name": 3}', "'signature_name' must be a string. Received: 3."),
        (b'{"instances": [["a"]], "signature_name": "ranking"}', "'ranking' not found in signature def"),
        (b'{"inputs": {"history": [["a"]], "k": 3}}', "Superfluous: k."),
    ],
)
def test_what_does_not_fit_is_a_bad_request(web, api, body, text):
    assert text in error(web.post(PREDICT, content=body), 400)
    assert not api.requests
    assert web.post(PREDICT, json={"instances": [["007"]]}).status_code == 200


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"b64": "/w=="})
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["history", "k", "b64"]), inner),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.dictionaries(st.sampled_from(["instances", "inputs", "parameters", "signature_name"]), VALUES)
    | st.fixed_dictionaries({"instances": st.lists(st.lists(st.text() | LEAVES))})
)
def test_any_json_is_answered_or_refused(web, body):
    response = web.post(PREDICT, content=json.dumps(body))
    if response.status_code == 200:
        assert list(response.json()) == ["predictions" if "instances" in body else "outputs"]
    else:
        error(response, 400)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary())
def test_any_bytes_are_refused(web, body):
    error(web.post(PREDICT, content=body), 400)


@pytest.mark.parametrize("k", ["3", 3.0, True, None, 2**31])
def test_numbers_are_not_converted(web, k):
    inputs = {"history": [["007"]], "k": k, "exclude": [[""]]}
    assert "Input 'k'" in error(web.post(PREDICT, json={"signature_name": "retrieve", "inputs": inputs}), 400)


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/models/shop:predict", 400),
        ("POST", "/v1/models/shop", 400),
        ("PUT", "/v1/models/shop:predict", 400),
        ("GET", "/v1/models/shop/versions/one", 400),
        ("GET", f"/v1/models/shop/versions/{2**80}", 400),
        ("GET", "/v1/models/shop/versions/1/labels/stable", 400),
        ("GET", "/v1/models", 400),
        ("POST", "/v1/models/shop:classify", 501),
        ("POST", "/v1/models/shop:regress", 501),
        ("GET", "/v1/models/house", 404),
        ("GET", "/v1/models/shop/versions/2", 404),
        ("GET", "/v1/models/house/metadata", 404),
        ("POST", "/v1/models/house:predict", 404),
        ("POST", "/v1/models/shop/labels/canary:predict", 404),
        ("GET", "/", 404),
        ("DELETE", "/elsewhere", 404),
    ],
)
def test_paths_that_lead_nowhere(web, verb, path, status):
    error(web.request(verb, path, json={"instances": [["007"]]}), status)


def test_a_name_is_percent_decoded_after_the_path_is_taken_apart(web):
    assert "Latest(a/b:c d)" in error(web.get("/v1/models/a%2Fb%3Ac%20d"), 404)


def test_a_body_that_is_too_large(api):
    web = TestClient(rest_app(api, max_body_bytes=1000))
    body = json.dumps({"instances": [["007"] * 500]}).encode()
    assert "may have at most 1000 bytes" in error(web.post(PREDICT, content=body), 413)
    assert "may have at most 1000 bytes" in error(web.post(PREDICT, content=iter([body[:900], body[900:]])), 413)
    packed = gzip.compress(body)
    assert len(packed) < 1000
    headers = {"content-encoding": "gzip"}
    assert "may have at most 1000 bytes" in error(web.post(PREDICT, content=packed, headers=headers), 413)


@pytest.mark.parametrize(("encoding", "status"), [("br", 415), ("gzip", 400)])
def test_a_body_that_cannot_be_unpacked(web, encoding, status):
    body = b'{"instances": [["007"]]}'
    error(web.post(PREDICT, content=body, headers={"content-encoding": encoding}), status)
    cut_off = gzip.compress(body)[:-9]
    error(web.post(PREDICT, content=cut_off, headers={"content-encoding": encoding}), status)


@pytest.mark.parametrize(
    ("code", "status"),
    [("RESOURCE_EXHAUSTED", 429), ("DEADLINE_EXCEEDED", 504), ("UNAVAILABLE", 503), ("INTERNAL", 500)],
)
def test_a_servers_refusal_has_tensorflow_servings_status(api, monkeypatch, code, status):
    def refuse(request, timeout=None):
        raise ServingError(grpc.StatusCode[code], "not now")

    monkeypatch.setattr(api, "predict", refuse)
    assert error(TestClient(rest_app(api)).post(PREDICT, json={"instances": [["007"]]}), status) == "not now"


def test_a_fault_of_the_server_is_logged_and_shows_nothing(api, monkeypatch, caplog):
    monkeypatch.setattr(api, "predict", lambda request, timeout=None: 1 / 0)
    response = TestClient(rest_app(api)).post(PREDICT, json={"instances": [["007"]]})
    assert error(response, 500) == "REST Predict failed; see the server's log."
    assert "ZeroDivisionError" in caplog.text


def test_time_that_is_up_before_the_model_runs(api, monkeypatch):
    web = TestClient(rest_app(api, timeout=1e-9))
    body = json.dumps({"instances": [["007"]]}).encode()
    assert web.post(PREDICT, content=body).status_code in (408, 504)
    assert not api.requests


# ---- the other routes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/versions/1", "/labels/stable"])
def test_status_in_tensorflow_servings_shape(web, path):
    assert web.get(f"/v1/models/shop{path}").json() == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


@pytest.mark.parametrize("path", ["", "/versions/1", "/labels/stable"])
def test_metadata_in_tensorflow_servings_shape(web, path):
    document = web.get(f"/v1/models/shop{path}/metadata").json()
    assert document["model_spec"] == {"name": "shop", "signature_name": "", "version": "1"} | (
        {"version_label": ""} if "version_label" in document["model_spec"] else {}
    )
    default = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    history = default["inputs"]["history"]
    assert history["dtype"] == "DT_STRING"
    assert [dimension["size"] for dimension in history["tensor_shape"]["dim"]] == ["-1", "-1"]


def test_health_follows_the_default_model(api, monkeypatch):
    assert TestClient(rest_app(api)).get("/healthz").json() == {"status": "ok"}
    web = TestClient(rest_app(api, default_model="shop"))
    assert web.get("/healthz").status_code == 200
    loading = get_model_status_pb2.GetModelStatusResponse()
    loading.model_version_status.add(version=1, state="LOADING")
    monkeypatch.setattr(api, "status", lambda request: loading)
    assert error(web.get("/healthz"), 503) == "No version of shop is AVAILABLE yet."
    web = TestClient(rest_app(api, default_model="house"))
    monkeypatch.undo()
    assert "Latest(house)" in error(web.get("/healthz"), 503)
    monkeypatch.setattr(api, "has_models", lambda: False)
    web = TestClient(rest_app(api))
    assert error(web.get("/healthz"), 503) == "The server has no model."


def test_vertex_ais_routes(api, retriever):
    predict_route, health_route = "/v1/endpoints/7/deployedModels/8:predict", "/v1/endpoints/7/deployedModels/8"
    web = TestClient(rest_app(api, default_model="shop", predict_route=predict_route, health_route=health_route))
    assert web.get(health_route).status_code == 200
    answer = web.post(predict_route, json={"instances": [["007"]], "parameters": None}).json()
    assert_same(
        answer["predictions"][0]["item_ids"], live(retriever, "serving_default", history=[["007"]])["item_ids"][0]
    )
    assert web.post(PREDICT, json={"instances": [["007"]]}).json() == answer


def test_requests_are_counted_and_logged(api, caplog):
    web = TestClient(rest_app(api, metrics=ServerMetrics()))
    with caplog.at_level(logging.INFO, "laclrec_tf.serving.access"):
        web.post(PREDICT, json={"instances": [["007"], ["PAD"]]})
        web.post(PREDICT, content=b"{")
        web.get("/healthz")
    good, bad = caplog.records
    assert (good.method, good.model, good.version, good.signature) == ("REST Predict", "shop", 1, "serving_default")
    assert (good.rows, good.code) == (2, "OK")
    assert (bad.code, bad.model) == ("INVALID_ARGUMENT", "shop") and bad.error.startswith("JSON Parse error")
    response = web.get(METRICS_ROUTE)
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert 'laclrec_requests_total{code="OK",method="REST Predict",model="shop"} 1.0' in lines
    assert 'laclrec_requests_total{code="INVALID_ARGUMENT",method="REST Predict",model="shop"} 1.0' in lines


def test_without_metrics_there_is_no_route_to_them(web):
    error(web.get(METRICS_ROUTE), 404)
