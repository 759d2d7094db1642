"""What `deploy/` holds for TensorFlow Serving: read with its own protos, and checked against each other."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from laclrec_tf.serving.client import queries
from laclrec_tf.serving.client.queries import recommend_query
from laclrec_tf.serving.rest.app import METRICS_ROUTE
from laclrec_tf.serving.rest.server import RestServer
from laclrec_tf.serving.server.config_files import (
    batching_parameters_proto,
    read_batching_parameters,
    read_model_config,
)

DEPLOY = Path(__file__).parents[1] / "deploy"
CONTAINER_FOLDER = "/config/"


def monitoring_config_proto() -> Any:
    """Return the class of `tensorflow.serving.MonitoringConfig`, which `tensorflow-serving-api` leaves out.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/config/monitoring_config.proto
    """
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="monitoring_config.proto", package="tensorflow.serving")
    file.syntax = "proto3"
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_BOOL)
    prometheus.field.add(name="path", number=2, label=kind.LABEL_OPTIONAL, type=kind.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        label=kind.LABEL_OPTIONAL,
        type=kind.TYPE_MESSAGE,
        type_name=".tensorflow.serving.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.MonitoringConfig"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def flags(compose) -> dict[str, str]:
    """The server's flags by name."""
    return dict(flag.removeprefix("--").split("=", 1) for flag in compose["serving"]["command"])


def test_models_config_is_read_by_the_proto_and_by_the_embedded_server():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((DEPLOY / "models.config").read_text(), config)
    (shop,) = config.model_config_list.config
    assert (shop.name, shop.base_path) == ("shop", "/models/shop")
    assert shop.model_version_policy.latest.num_versions == 2
    assert read_model_config(DEPLOY / "models.config") == config


def test_batching_parameters_are_read_by_the_proto_and_by_the_embedded_server():
    proto = batching_parameters_proto()()
    text_format.Parse((DEPLOY / "batching_parameters.txt").read_text(), proto)
    parameters = read_batching_parameters(DEPLOY / "batching_parameters.txt")
    assert parameters.max_batch_size == proto.max_batch_size.value == queries.BATCH_SIZE
    assert parameters.batch_timeout_micros == proto.batch_timeout_micros.value == 1000
    assert not proto.pad_variable_length_inputs


def test_metrics_are_where_prometheus_looks(compose, flags):
    config = monitoring_config_proto()()
    text_format.Parse((DEPLOY / "monitoring.config").read_text(), config)
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == job["metrics_path"] == METRICS_ROUTE
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in compose and port == flags["rest_api_port"]


def test_the_flags_name_files_that_are_there(compose, flags):
    named = {name: value for name, value in flags.items() if name.endswith("_file")}
    assert set(named) == {"model_config_file", "monitoring_config_file"}
    for file in named.values():
        assert file.startswith(CONTAINER_FOLDER) and (DEPLOY / file.removeprefix(CONTAINER_FOLDER)).is_file()
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0


def test_the_packages_own_client_is_not_refused(flags):
    """Batching refuses scalars: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching."""
    (inputs,) = recommend_query(["sku-17"], k=3, exclude=(), allow=(), exclude_history=True).requests
    assert {name for name, array in inputs.items() if array.ndim == 0} == {"k", "exclude_history"}
    assert "enable_batching" not in flags


def test_the_volumes_are_there_and_hold_the_models(compose):
    mounted = {}
    for service in compose.values():
        for volume in service["volumes"]:
            source, inside, mode = volume.split(":")
            assert (DEPLOY / source).exists() and mode == "ro"
            mounted[inside] = (DEPLOY / source).resolve()
    assert mounted["/models"] == DEPLOY.parent / "saved_models"
    assert mounted[CONTAINER_FOLDER.rstrip("/")] == DEPLOY
    assert read_model_config(DEPLOY / "models.config").model_config_list.config[0].base_path.startswith("/models/")


def test_the_ports_are_this_machines_only(compose, flags):
    assert compose["serving"]["ports"] == [
        f"127.0.0.1:{port}:{port}" for port in (flags["port"], flags["rest_api_port"])
    ]


class OneModel:
    """The method of a server that the health check calls."""

    def __init__(self, state: str) -> None:
        self.state = state

    def status(self, request):
        assert request.model_spec.name == "shop"
        response = get_model_status_pb2.GetModelStatusResponse()
        version = response.model_version_status.add(version=1, state=self.state)
        version.status.error_code = 14  # UNAVAILABLE, which is not the state
        return response


@pytest.mark.parametrize(("state", "healthy"), [("AVAILABLE", True), ("LOADING", False), ("END", False)])
def test_the_health_check_asks_for_a_version_that_can_answer(compose, flags, state, healthy):
    kind, *command = compose["serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    with RestServer(OneModel(state), port=0) as server:
        here = [part.replace(f"/{flags['rest_api_port']}", f"/{server.port}") for part in command]
        assert here != command
        assert (subprocess.run(here, timeout=30, check=False).returncode == 0) is healthy


def test_the_health_check_fails_without_a_server(compose, flags):
    with RestServer(OneModel("AVAILABLE"), port=0) as server:
        command = [
            part.replace(f"/{flags['rest_api_port']}", f"/{server.port}")
            for part in compose["serving"]["healthcheck"]["test"][1:]
        ]
    assert subprocess.run(command, timeout=30, check=False, capture_output=True).returncode != 0
