"""Serve an exported model on Vertex AI: upload it and deploy it to an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import SCHEME, bucket_of
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE, version_folder
from laclrec_tf.serving.version.manifest import manifest_sha256, verify_manifest
from laclrec_tf.vertex.client import StagingBucket, VertexClient, as_message, finished, refusals
from laclrec_tf.vertex.job import check_labels, check_machine, check_name, machine_spec

# The newest prebuilt image. It runs TensorFlow Serving; exported models have stock ops only.
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-{device}.2-15:latest"
UPLOAD_SECONDS, DEPLOY_SECONDS = 1800.0, 3600.0


@dataclass(frozen=True)
class VertexDeployment:
    """A model, an endpoint and its machines.

    Args:
        name: name of the model and of a new endpoint in the console.
        project: Google Cloud project.
        model: "gs://..." of the folder with `saved_model.pb`.
        region: Google Cloud region. Default: "us-central1".
        machine_type: type of each machine. Default: "n1-standard-4".
        accelerator: accelerator of each machine, e.g. "NVIDIA_TESLA_T4". Default: None.
        accelerator_count: number of accelerators of each machine. Default: 1.
        min_replicas: number of machines that always run. Default: 1.
        max_replicas: max number of machines under load. Default: 1.
        service_account: e-mail of the account that the server runs as. Default: Vertex AI's own account.
        endpoint: ID of an existing endpoint, whose whole traffic moves to this model. Default: a new endpoint.
        undeploy_old: undeploy the endpoint's other models once this one serves. Default: False, they keep running
            without traffic and are billed.
        parent_model: ID of a model that gets this one as its next version. Default: a new model.
        image: serving container. Default: the newest prebuilt TensorFlow container.
        labels: labels of the model and of a new endpoint. Default: none.

    Raises:
        InputError: an argument is invalid, or two of them do not fit together.
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
            raise InputError("--undeploy-old undeploys the other models of an endpoint. Also give --endpoint.")
        check_labels(self.labels)
        bucket_of(self.model)

    def model_resource(self) -> dict[str, Any]:
        """Return the `Model` to upload, in its JSON form."""
        image = self.image or IMAGE.format(device="gpu" if self.accelerator else "cpu")
        return {
            "displayName": self.name,
            "artifactUri": self.model,
            "containerSpec": {"imageUri": image},
            "labels": dict(self.labels),
        }

    def deployed_model(self, model: str) -> dict[str, Any]:
        """Return the `DeployedModel`, in its JSON form.

        Args:
            model: resource name of the uploaded model.
        """
        deployed: dict[str, Any] = {
            "model": model,
            "displayName": self.name,
            "dedicatedResources": {
                "machineSpec": machine_spec(self.machine_type, self.accelerator, self.accelerator_count),
                "minReplicaCount": self.min_replicas,
                "maxReplicaCount": self.max_replicas,
            },
        }
        return deployed | ({"serviceAccount": self.service_account} if self.service_account else {})

    def as_yaml(self) -> str:
        """Return the requests in readable form."""
        endpoint = self.endpoint or {"displayName": self.name, "labels": dict(self.labels)}
        requests: dict[str, Any] = {
            "uploadModel": ({"parentModel": self.parent_model} if self.parent_model else {})
            | {"model": self.model_resource()},
            "endpoint": endpoint,
            "deployModel": {"deployedModel": self.deployed_model("MODEL"), "trafficSplit": {"0": 100}},
        }
        if self.undeploy_old:
            requests["undeployModel"] = "all other models of the endpoint"
        return yaml.safe_dump(requests, sort_keys=False, width=10_000)


@dataclass(frozen=True)
class Deployed:
    """The served model.

    Args:
        model: "projects/P/locations/R/models/ID@VERSION".
        endpoint: "projects/P/locations/R/endpoints/ID".
    """

    model: str
    endpoint: str


def deploy_on_vertex(
    deployment: VertexDeployment,
    folder: Path | None = None,
    *,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Deployed:
    """Upload a model, create an endpoint unless one is given, and send all its traffic to the model.

    Args:
        deployment: the model, the endpoint and its machines.
        folder: the version's local folder, to be uploaded to `deployment.model`. Default: None, it is there already.
        api_endpoint: see `VertexClient`. Default: None.
        on_step: function called with a line of text after each step. Default: nothing.

    Returns:
        The model's version and the endpoint.

    Raises:
        InputError: there are no credentials, the bucket or the endpoint does not exist, or Google Cloud refuses.
            Everything created before the error is kept, and `on_step` has named it.
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
    model_message = as_message("Model", deployment.model_resource())
    request: dict[str, Any] = {"parent": client.parent, "model": model_message}
    if deployment.parent_model:
        request["parent_model"] = f"{client.parent}/models/{deployment.parent_model}"
    with refusals("Uploading the model"):
        uploading = models.upload_model(request)
    uploaded = finished(uploading, "Uploading the model", UPLOAD_SECONDS)
    model = f"{uploaded.model}@{uploaded.model_version_id or '1'}"
    on_step(f"created model {model}")
    if not deployment.endpoint:
        named = {"display_name": deployment.name, "labels": dict(deployment.labels)}
        with refusals("Creating the endpoint"):
            creating = endpoints.create_endpoint(parent=client.parent, endpoint=named)
        endpoint = finished(creating, "Creating the endpoint", UPLOAD_SECONDS).name
        on_step(f"created endpoint {endpoint}")
    deployed_model = as_message("DeployedModel", deployment.deployed_model(model))
    with refusals("Deploying the model"):
        # "0" is the model that this request deploys.
        deploying = endpoints.deploy_model(endpoint=endpoint, deployed_model=deployed_model, traffic_split={"0": 100})
    on_step("deploying the model, which takes about 10 minutes ...")
    finished(deploying, "Deploying the model", DEPLOY_SECONDS)
    for each in old:
        if deployment.undeploy_old:
            with refusals(f"Undeploying {each.model}"):
                undeploying = endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=each.id)
            finished(undeploying, f"Undeploying {each.model}", DEPLOY_SECONDS)
            on_step(f"undeployed {each.model}")
        else:
            on_step(
                f"still deployed and billed, without traffic: {each.model}. Undeploy it: gcloud ai endpoints "
                f"undeploy-model {deployment.endpoint} --deployed-model-id={each.id} --project={deployment.project} "
                f"--region={deployment.region}"
            )
    return Deployed(model, endpoint)


def place_of(saved_model: str, bucket: str | None, name: str) -> tuple[str, Path | None]:
    """Find a model's place in the bucket, and the local folder to upload it from.

    Args:
        saved_model: a version's folder, a model's folder (its newest version), or "gs://..." of a version's folder.
        bucket: "gs://BUCKET" or a folder in it; only local models need it.
        name: name of the model.

    Returns:
        "gs://..." of the model, and the version's local folder. None if the model is in a bucket already.

    Raises:
        InputError: there is no exported model, it is damaged, or a local model comes without a bucket.
    """
    if saved_model.startswith(SCHEME):
        return saved_model.rstrip("/"), None
    folder = version_folder(Path(saved_model))
    verify_manifest(folder)
    if bucket is None:
        raise InputError(f"{saved_model} is on this machine. Give --bucket gs://BUCKET to upload it to.")
    return f"{bucket.rstrip('/')}/models/{name}/{manifest_sha256(folder)[:16]}", folder
