"""What Vertex AI says by the environment."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.rest.server import VertexEnvironment, read_vertex_environment


def test_the_variables_are_read(monkeypatch):
    monkeypatch.setenv("AIP_HTTP_PORT", "8080")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/v1/endpoints/7/deployedModels/8")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/7/deployedModels/8:predict")
    assert read_vertex_environment() == VertexEnvironment(
        8080, "/v1/endpoints/7/deployedModels/8", "/v1/endpoints/7/deployedModels/8:predict"
    )


def test_elsewhere_nothing_is_said():
    assert read_vertex_environment({}) == read_vertex_environment({"AIP_HTTP_PORT": ""}) == VertexEnvironment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIP_HTTP_PORT", "http"),
        ("AIP_HTTP_PORT", "65536"),
        ("AIP_HTTP_PORT", "-1"),
        ("AIP_HTTP_PORT", "²"),
        ("AIP_HEALTH_ROUTE", "ping"),
        ("AIP_PREDICT_ROUTE", "predict"),
    ],
)
def test_a_variable_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=f"^{name} must .*Received: {value}."):
        read_vertex_environment({name: value})
