"""The job's spec is what the API's own message says it is."""

import shlex
from importlib.metadata import version

import pytest
import yaml
from google.cloud.aiplatform_v1.types import CustomJobSpec, Scheduling
from google.protobuf import json_format

from laclrec_tf.errors import InputError
from laclrec_tf.vertex.job import VertexJob

JOB = {
    "name": "may",
    "project": "shop-project",
    "bucket": "gs://shop-bucket/a",
    "data": "gs://shop-bucket/data",
    "package": "gs://shop-bucket/x.tar.gz",
}


def parsed(job):
    """Read the YAML back into the API's message, which knows every field of a `CustomJobSpec` and no other."""
    spec = CustomJobSpec()
    json_format.ParseDict(yaml.safe_load(job.as_yaml()), CustomJobSpec.pb(spec))
    return spec


def test_a_plain_job():
    spec = parsed(VertexJob(**JOB, settings={"preset": "sasrec", "refit": True, "random_kinds": ["crop", "mask"]}))
    (pool,) = spec.worker_pool_specs
    assert (pool.replica_count, pool.machine_spec.machine_type) == (1, "n1-standard-8")
    assert pool.container_spec.image_uri == f"tensorflow/tensorflow:{version('tensorflow')}"
    assert list(pool.container_spec.command) == ["bash", "-c"]
    script, *arguments = pool.container_spec.args
    assert "pip install --quiet --no-cache-dir /gcs/shop-bucket/x.tar.gz && exec laclrec-tf vertex run" in script
    assert arguments == [
        "laclrec-tf",
        "gs://shop-bucket/data",
        *("--set=preset=sasrec", "--set=refit=true", "--set=random_kinds=crop,mask"),
    ]
    assert spec.base_output_directory.output_uri_prefix == "gs://shop-bucket/a/may"
    assert "scheduling" not in spec


def test_a_job_with_everything():
    tensorboard = "projects/1/locations/us-central1/tensorboards/2"
    job = VertexJob(
        **JOB,
        machine_type="g2-standard-12",
        accelerator="NVIDIA_L4",
        replicas=3,
        spot=True,
        service_account="me@shop.iam.gserviceaccount.com",
        tensorboard=tensorboard,
        image="my/image:1",
        labels={"team": "shop", "env": "dev"},
    )
    spec = parsed(job)
    assert [pool.replica_count for pool in spec.worker_pool_specs] == [1, 2]
    for pool in spec.worker_pool_specs:
        assert pool.machine_spec.accelerator_type.name == "NVIDIA_L4"
        assert pool.machine_spec.accelerator_count == 1
        assert pool.container_spec.image_uri == "my/image:1"
    assert spec.scheduling.strategy == Scheduling.Strategy.SPOT
    assert spec.scheduling.restart_job_on_worker_restart
    assert (spec.service_account, spec.tensorboard) == ("me@shop.iam.gserviceaccount.com", tensorboard)
    # A spec has no labels: they are gcloud's option.
    command = shlex.split(job.as_yaml().splitlines()[0].removeprefix("# "))
    assert command[:4] == ["gcloud", "ai", "custom-jobs", "create"]
    assert set(command[4:]) == {
        *("--project=shop-project", "--region=us-central1", "--display-name=may", "--config=FILE"),
        "--labels=team=shop,env=dev",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tensorboard": "tb"}, "projects/PROJECT/locations/REGION/tensorboards/ID"),
        ({"tensorboard": "projects/1/locations/r/tensorboards/2"}, "Give --service-account too"),
        ({"labels": {"Team": "shop"}}, "lower-case"),
        ({"name": "a b"}, "Argument `name`"),
        ({"replicas": 0}, "Argument `replicas`"),
        ({"data": "data"}, "gs://BUCKET/FOLDER"),
        ({"machine_type": "g2-standard-12"}, "NVIDIA_L4"),
        ({"machine_type": "a2-megagpu-16g", "accelerator": "NVIDIA_TESLA_A100"}, "a worker trains on one"),
    ],
)
def test_mistakes(arguments, says):
    with pytest.raises(InputError, match=says):
        VertexJob(**JOB | arguments)
