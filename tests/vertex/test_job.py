"""A job's spec, read back as the message of the API."""

from __future__ import annotations

import shlex
from importlib.metadata import version

import pytest
import yaml
from google.cloud.aiplatform_v1.types import AcceleratorType, CustomJobSpec, Scheduling
from google.protobuf import json_format

from laclrec_tf.errors import InputError
from laclrec_tf.vertex.job import ACCELERATORS, VertexJob, check_machine

JOB = {
    "name": "may",
    "project": "shop-project",
    "bucket": "gs://shop-bucket/a",
    "data": "gs://shop-bucket/data",
    "package": "gs://shop-bucket/x.tar.gz",
}


def test_the_accelerators_are_those_of_the_api():
    nvidia = {kind.name for kind in AcceleratorType if kind.name.startswith("NVIDIA_")}
    assert set(ACCELERATORS) == nvidia - {"NVIDIA_TESLA_K80"}


@pytest.mark.parametrize(
    ("machine", "accelerator", "count"),
    [
        ("n1-standard-8", None, 1),
        ("e2-standard-4", None, 1),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 4),
        ("g2-standard-12", "NVIDIA_L4", 1),
        ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1),
        ("a2-highgpu-1g", "NVIDIA_TESLA_A100", None),
        ("n1-standard-8", "NVIDIA_TESLA_T4", None),
        ("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16),
        ("a4x-highgpu-4g", "NVIDIA_GB200", 4),
        ("g2-standard-96", "NVIDIA_L4", 8),
        ("g4-standard-384", "NVIDIA_RTX_PRO_6000", 8),
        ("n1-standard-96", "NVIDIA_TESLA_V100", 8),
    ],
)
def test_what_goes_together(machine, accelerator, count):
    check_machine(machine, accelerator, count)


@pytest.mark.parametrize(
    ("machine", "accelerator", "count", "says"),
    [
        ("g2-standard-12", None, 1, "Also give --accelerator NVIDIA_L4"),
        ("g2-standard-12", "NVIDIA_TESLA_T4", 1, "has NVIDIA_L4"),
        ("n1-standard-8", "NVIDIA_L4", 1, "Only machine types g2-standard have NVIDIA_L4"),
        ("e2-standard-4", "NVIDIA_TESLA_T4", 1, "Only n1 machines can have NVIDIA_TESLA_T4"),
        ("g2-standard-12", "nvidia_l4x", 1, "has no --accelerator nvidia_l4x. Did you mean NVIDIA_L4"),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 3, "must be one of 1, 2, 4, 8, 16. Received: 3"),
        ("n1-standard-8", "NVIDIA_TESLA_T4", 8, "must be one of 1, 2, 4 for NVIDIA_TESLA_T4. Received: 8"),
        ("n1-standard-8", "NVIDIA_TESLA_V100", 16, "must be one of 1, 2, 4, 8 for NVIDIA_TESLA_V100"),
        ("n1-standard-8", "NVIDIA_TESLA_P100", 8, "must be one of 1, 2, 4 for NVIDIA_TESLA_P100"),
        ("n1-standard-8", "NVIDIA_TESLA_P4", 8, "must be one of 1, 2, 4 for NVIDIA_TESLA_P4"),
        ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 8, "a2-highgpu-1g has 1 accelerator. .*Give --accelerator-count 1, or"),
        ("g2-standard-24", "NVIDIA_L4", 1, "g2-standard-24 has 2 accelerators. Received: --accelerator-count 1"),
        ("g4-standard-48", "NVIDIA_RTX_PRO_6000", 2, "g4-standard-48 has 1 accelerator. "),
        ("a4-highgpu-8g", "NVIDIA_B200", 4, "a4-highgpu-8g has 8 accelerators. "),
        ("a2-megagpu-16g", "NVIDIA_TESLA_A100", None, "has 16 accelerators, and a worker .* e.g. a2-highgpu-1g"),
        ("g2-standard-48", "NVIDIA_L4", None, "has 4 accelerators, and a worker .* e.g. g2-standard-12"),
        ("a4-highgpu-8g", "NVIDIA_B200", None, "has 8 .* e.g. a2-highgpu-1g with NVIDIA_TESLA_A100"),
    ],
)
def test_what_does_not(machine, accelerator, count, says):
    with pytest.raises(InputError, match=says):
        check_machine(machine, accelerator, count)


def parsed(job):
    """Read the YAML back as the message of the API, which refuses unknown fields."""
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
    # A spec has no labels; gcloud has an option for them.
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
        ({"tensorboard": "projects/1/locations/r/tensorboards/2"}, "Also give --service-account"),
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
