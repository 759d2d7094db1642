"""Statuses and protos as TensorFlow Serving's REST API shows them."""

from __future__ import annotations

import json

import grpc
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.rest.status import RestError, error_json, http_status, metadata_json, status_json


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_has_an_http_status(code):
    status = http_status(ServingError(code, ""))
    assert status == 200 if code is grpc.StatusCode.OK else 400 <= status <= 504


def test_an_error_may_have_an_http_status_of_its_own():
    assert http_status(RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", 413)) == 413
    assert http_status(ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "not now")) == 429


def test_a_version_that_failed_is_shown_with_its_reason():
    response = get_model_status_pb2.GetModelStatusResponse()
    failed = response.model_version_status.add(version=2**40, state="END")
    failed.status.error_code, failed.status.error_message = 3, 'a "bad" file'
    response.model_version_status.add(version=1, state="AVAILABLE")
    assert json.loads(status_json(response)) == {
        "model_version_status": [
            {
                "version": str(2**40),
                "state": "END",
                "status": {"error_code": "INVALID_ARGUMENT", "error_message": 'a "bad" file'},
            },
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        ]
    }


def test_metadata_has_the_signatures_without_a_types_name():
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = "shop"
    response.model_spec.version.value = 3
    map_ = get_model_metadata_pb2.SignatureDefMap()
    map_.signature_def["rank"].inputs["history"].name = "history:0"
    response.metadata["signature_def"].Pack(map_)
    document = json.loads(metadata_json(response))
    assert (document["model_spec"]["name"], document["model_spec"]["version"]) == ("shop", "3")
    assert list(document["metadata"]) == ["signature_def"] == list(document["metadata"]["signature_def"])
    history = document["metadata"]["signature_def"]["signature_def"]["rank"]["inputs"]["history"]
    assert (history["name"], history["dtype"]) == ("history:0", "DT_INVALID")


def test_an_error_is_json_whatever_it_quotes():
    assert json.loads(error_json('a "quoted"\n\x00 ü')) == {"error": 'a "quoted"\n\x00 ü'}
    assert json.loads(error_json("half a pair: \ud800")) == {"error": "half a pair: ?"}
