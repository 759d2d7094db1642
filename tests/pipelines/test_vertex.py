"""A training job, its model and an endpoint on a stand-in for Vertex AI."""

from __future__ import annotations

import pytest
import yaml

from tests.vertex.stand_in import PARENT, google_cloud

PLACE = ["--project", "shop-project", "--region", "europe-west4", "--bucket", "gs://shop-bucket", "--name", "may"]


@pytest.fixture
def cloud():
    """Return the stand-in."""
    with google_cloud() as running:
        yield running


def test_a_job_becomes_an_endpoint(cloud, script, data):
    cloud.states = ["JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    arguments = [data, *PLACE, "--set", "width=16", "--poll-seconds", "0", "--api-endpoint", cloud.address]
    lines = script("vertex.py", *arguments).splitlines()
    assert [line for line in lines if line.startswith("job: ")] == ["job: pending", "job: running", "job: succeeded"]
    assert lines[-1] == f"{PARENT}/endpoints/99 serves {PARENT}/models/5@1"
    (_, job), (_, upload), (_, endpoint), (_, deploy) = cloud.received
    assert "--set=width=16" in job.job_spec.worker_pool_specs[0].container_spec.args
    assert upload.model.artifact_uri == f"{job.job_spec.base_output_directory.output_uri_prefix}/model"
    assert job.display_name == upload.model.display_name == endpoint.display_name == "may"
    assert dict(deploy.traffic_split) == {"0": 100}

    cloud.states, cloud.received = ["JOB_STATE_FAILED"], []
    assert "The job ended as FAILED: Out of memory." in script("vertex.py", *arguments, code=2)
    assert [name for name, _ in cloud.received] == ["customJobs"]  # no model of a failed job is served


def test_a_dry_run_prints_both_requests_and_needs_no_cloud(process, data, tmp_path):
    done = process("vertex.py", data, *PLACE, "--endpoint", "77", "--dry-run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    job, deployment = yaml.safe_load_all(done.stdout)
    assert job["baseOutputDirectory"] == {"outputUriPrefix": "gs://shop-bucket/may"}
    assert deployment["uploadModel"]["model"]["artifactUri"] == "gs://shop-bucket/may/model"
    assert deployment["endpoint"] == "77"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--machine-type", "e2-standard-4", "--accelerator", "NVIDIA_TESLA_T4"], "Only n1 machines can have"),
        (["--set", "widht=3"], "Did you mean 'width'?"),
    ],
)
def test_mistakes(script, data, more, says):
    assert says in script("vertex.py", data, *PLACE, *more, code=2)
