"""Serve an exported model on Vertex AI: upload it, and put it behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import SCHEME, bucket_of
from laclrec_tf.serving.release.push import exported_version
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE
from laclrec_tf.serving.version.manifest import manifest_sha256, verify_manifest
from laclrec_tf.vertex.client import VertexClient, finished, refusals
from laclrec_tf.vertex.job import check_labels, check_machine, check_name
from laclrec_tf.vertex.submit import StagingBucket

# The newest prebuilt image. It runs TensorFlow Serving; what is exported here holds stock ops only.
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-{device}.2-15:latest"
UPLOAD_SECONDS, DEPLOY_SECONDS = 1800.0, 3600.0


@dataclass(frozen=True)
class VertexDeployment:
    """What to serve where.

    Args:
        name: of the model and of a new endpoint, as the console shows them.
        project: Google Cloud project.
        model: "gs://..." of the folder that holds `saved_model.pb`.
        region: Default: "us-central1".
        machine_type: Default: "n1-standard-4".
        accelerator: such as "NVIDIA_TESLA_T4". Default: None.
        accelerator_count: accelerators a machine. Default: 1.
        min_replicas: machines that always run. Default: 1.
        max_replicas: machines under load. Default: 1.
        service_account: e-mail of the account that the server runs as. Default: None, Vertex AI's own.
        endpoint: ID of an endpoint that is there; all its traffic goes to this model then. Default: None, a new one.
        undeploy_old: take the endpoint's other models off it once this one serves. Default: False, they go on running
            without traffic, and are billed.
        parent_model: ID of a model of which this is the next version. Default: None, a new model.
        image: serving container. Default: None, the newest prebuilt TensorFlow one.
        labels: Default: none.

    Raises:
        InputError: the arguments do not fit together.
    """

    name: str
    project: str
    model: str
    region: str = "us-central1"
    machine_type: str = "n1-standard-4"
    accelerator: str | None = None
    accelerator_count: int = 1
    min_replicas: int = 1
    max_replicas: int = 1
    service_account: str | None = None
    endpoint: str | None = None
    undeploy_old: bool = False
    parent_model: str | None = None
    image: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_machine(self.machine_type, self.accelerator, self.accelerator_count)
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise InputError(
                "Argument `max_replicas` must be at least `min_replicas`, and that at least 1. "
                f"Received: {self.max_replicas} and {self.min_replicas}."
            )
        if self.undeploy_old and not self.endpoint:
            raise InputError("--undeploy-old is about the other models of an endpoint. Give --endpoint too.")
        check_labels(self.labels)
        bucket_of(self.model)

    def model_resource(self) -> dict[str, Any]:
        """Return the `Model` to upload, as JSON has it."""
        image = self.image or IMAGE.format(device="gpu" if self.accelerator else "cpu")
        return {
            "displayName": self.name,
            "artifactUri": self.model,
            "containerSpec": {"imageUri": image},
            "labels": dict(self.labels),
        }

    def deployed_model(self, model: str) -> dict[str, Any]:
        """Return the `DeployedModel`, as JSON has it.

        Args:
            model: the uploaded model's resource name.
        """
        machine: dict[str, Any] = {"machineType": self.machine_type}
        if self.accelerator:
            machine |= {"acceleratorType": self.accelerator, "acceleratorCount": self.accelerator_count}
        deployed: dict[str, Any] = {
            "model": model,
            "displayName": self.name,
            "dedicatedResources": {
                "machineSpec": machine,
                "minReplicaCount": self.min_replicas,
                "maxReplicaCount": self.max_replicas,
            },
        }
        return deployed | ({"serviceAccount": self.service_account} if self.service_account else {})

    def as_yaml(self) -> str:
        """Return the requests for people to read."""
        endpoint = self.endpoint or {"displayName": self.name, "labels": dict(self.labels)}
        requests: dict[str, Any] = {
            "uploadModel": ({"parentModel": self.parent_model} if self.parent_model else {})
            | {"model": self.model_resource()},
            "endpoint": endpoint,
            "deployModel": {"deployedModel": self.deployed_model("MODEL"), "trafficSplit": {"0": 100}},
        }
        if self.undeploy_old:
            requests["undeployModel"] = "all others of the endpoint"
        return yaml.safe_dump(requests, sort_keys=False, width=10_000)


@dataclass(frozen=True)
class Deployed:
    """What is served now.

    Args:
        model: "projects/P/locations/R/models/ID@VERSION".
        endpoint: "projects/P/locations/R/endpoints/ID".
    """

    model: str
    endpoint: str


def place_of(saved_model: str, bucket: str | None, name: str) -> tuple[str, Path | None]:
    """Say where in the bucket a model will lie, and which local folder it is uploaded from.

    Args:
        saved_model: a version's folder, a model's folder (its newest version), or "gs://..." of a version's folder.
        bucket: "gs://BUCKET" or a folder in it; only for local models.
        name: the model's.

    Returns:
        "gs://...", and the version's local folder or None.

    Raises:
        InputError: there is no exported model, it is damaged, or no bucket is given for it.
    """
    if saved_model.startswith(SCHEME):
        return saved_model.rstrip("/"), None
    folder = exported_version(Path(saved_model))
    verify_manifest(folder)
    if bucket is None:
        raise InputError(f"{saved_model} is on this machine. Give --bucket gs://BUCKET to upload it to.")
    return f"{bucket.rstrip('/')}/models/{name}/{manifest_sha256(folder)[:16]}", folder


def deploy_on_vertex(
    deployment: VertexDeployment,
    folder: Path | None = None,
    *,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Deployed:
    """Upload a model, make an endpoint unless one is given, and send all its traffic to the model.

    Args:
        deployment: what and where.
        folder: the version's local folder, uploaded to `deployment.model`. Default: None, it is there.
        api_endpoint: see `VertexClient`. Default: None.
        on_step: called with what was done, a line each. Default: nothing.

    Returns:
        The model's version and the endpoint.

    Raises:
        InputError: no credentials, no such bucket or endpoint, or Google Cloud refuses; what was made until then is
            named by the lines of `on_step` and stays.
    """
    client = VertexClient(deployment.project, deployment.region, api_endpoint)
    models, endpoints = client.service("ModelServiceClient"), client.service("EndpointServiceClient")
    bucket = StagingBucket(client, deployment.model)
    old: list[Any] = []
    if deployment.endpoint:
        endpoint = f"{client.parent}/endpoints/{deployment.endpoint}"
        with refusals(f"The endpoint {deployment.endpoint}"):
            old = list(endpoints.get_endpoint(name=endpoint).deployed_models)  # before anything is uploaded
    if folder is not None:
        on_step(f"uploaded {bucket.upload_folder(folder, deployment.model, last=SAVED_MODEL_FILE)}")
    request: dict[str, Any] = {"parent": client.parent, "model": _model(deployment)}
    if deployment.parent_model:
        request["parent_model"] = f"{client.parent}/models/{deployment.parent_model}"
    with refusals("Uploading the model"):
        uploading = models.upload_model(request)
    uploaded = finished(uploading, "Uploading the model", UPLOAD_SECONDS)
    model = f"{uploaded.model}@{uploaded.model_version_id or '1'}"
    on_step(f"made model {model}")
    if not deployment.endpoint:
        about = {"display_name": deployment.name, "labels": dict(deployment.labels)}
        with refusals("Making the endpoint"):
            making = endpoints.create_endpoint(parent=client.parent, endpoint=about)
        endpoint = finished(making, "Making the endpoint", UPLOAD_SECONDS).name
        on_step(f"made endpoint {endpoint}")
    with refusals("Deploying the model"):
        # "0" is the model that this request deploys.
        deploying = endpoints.deploy_model(
            endpoint=endpoint, deployed_model=_deployed_model(deployment, model), traffic_split={"0": 100}
        )
    finished(deploying, "Deploying the model", DEPLOY_SECONDS, lambda: on_step("deploying, 10 minutes or so ..."))
    for each in old:
        if deployment.undeploy_old:
            with refusals(f"Undeploying {each.model}"):
                leaving = endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=each.id)
            finished(leaving, f"Undeploying {each.model}", DEPLOY_SECONDS)
            on_step(f"undeployed {each.model}")
        else:
            on_step(
                f"still deployed, billed and without traffic: {each.model}. Take it off: gcloud ai endpoints "
                f"undeploy-model {deployment.endpoint} --deployed-model-id={each.id} --project={deployment.project} "
                f"--region={deployment.region}"
            )
    return Deployed(model, endpoint)


def _model(deployment: VertexDeployment) -> Any:
    from google.cloud.aiplatform_v1.types import Model
    from google.protobuf import json_format

    model = Model()
    json_format.ParseDict(deployment.model_resource(), Model.pb(model))
    return model


def _deployed_model(deployment: VertexDeployment, model: str) -> Any:
    from google.cloud.aiplatform_v1.types import DeployedModel
    from google.protobuf import json_format

    deployed = DeployedModel()
    json_format.ParseDict(deployment.deployed_model(model), DeployedModel.pb(deployed))
    return deployed
