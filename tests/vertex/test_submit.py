"""Jobs and deployments: the requests that the real SDK sends to a stand-in for Google Cloud."""

import io
import os
import re
import sys
import tarfile

import pytest
import yaml
from google.cloud.aiplatform_v1.types import CustomJobSpec
from google.protobuf import json_format

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.vertex.client import import_vertex
from laclrec_tf.vertex.submit import SubmittedJob, wait_for_job
from tests.vertex.stand_in import PARENT, google_cloud

PLACE = ["--project", "shop-project", "--region", "europe-west4"]


@pytest.fixture
def cloud():
    """Return the stand-in."""
    with google_cloud() as running:
        yield running


def run(capsys, *arguments, code=0):
    """Run a command in this process and return its output; an error is one line."""
    with pytest.raises(SystemExit) as exit_:
        main(["vertex", *map(str, arguments)])
    captured = capsys.readouterr()
    assert exit_.value.code == code, captured.err
    assert captured.err.count("\n") == (1 if code else 0), captured.err
    return captured.err if code else captured.out


def test_train_uploads_and_submits_what_the_dry_run_prints(cloud, data, capsys):
    job = ["train", data, *PLACE, "--bucket", "gs://shop-bucket/a", "--name", "may", "--set", "width=16", "--spot"]
    job += ["--machine-type", "n1-standard-4", "--accelerator", "NVIDIA_TESLA_T4", "--label", "team=shop"]
    printed = CustomJobSpec()
    json_format.ParseDict(yaml.safe_load(run(capsys, *job, "--dry-run")), CustomJobSpec.pb(printed))
    assert cloud.received == []
    assert cloud.objects == {}

    said = run(capsys, *job, "--api-endpoint", cloud.address)
    assert f"submitted {PARENT}/customJobs/42, results in gs://shop-bucket/a/may" in said
    ((name, sent),) = cloud.received
    assert name == "customJobs"
    assert (sent.display_name, dict(sent.labels)) == ("may", {"team": "shop"})
    assert sent.job_spec == printed

    # The places that the job's command names exist.
    script, _, place, *_ = sent.job_spec.worker_pool_specs[0].container_spec.args
    package = cloud.objects["shop-bucket/a/may/package/laclrec_tf-0.1.0.tar.gz"]
    assert "/gcs/shop-bucket/a/may/package/laclrec_tf-0.1.0.tar.gz" in script
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "laclrec_tf/vertex/worker.py", "laclrec_tf/models/laclrec.py"} <= names
    uploaded = [name for name in cloud.objects if name.startswith(place.removeprefix("gs://"))]
    for file in data.iterdir():
        assert cloud.objects[f"{place.removeprefix('gs://')}/{file.name}"] == file.read_bytes()
    assert uploaded[-1].endswith("/dataset.json")  # an interrupted upload is not taken for prepared data


def test_upload_only_prints_a_spec_whose_places_exist(cloud, data, capsys):
    job = ["train", data, *PLACE, "--bucket", "gs://shop-bucket", "--api-endpoint", cloud.address]
    printed = CustomJobSpec()
    json_format.ParseDict(yaml.safe_load(run(capsys, *job, "--upload-only")), CustomJobSpec.pb(printed))
    script, _, place, *_ = printed.worker_pool_specs[0].container_spec.args
    assert f"{place.removeprefix('gs://')}/dataset.json" in cloud.objects
    assert re.search(r"/gcs/(\S+)", script)[1] in cloud.objects
    assert cloud.received == []
    assert "Give one of them" in run(capsys, *job, "--upload-only", "--dry-run", code=2)


def test_existing_data_and_package_are_not_uploaded(cloud, capsys):
    own = ["--package", "gs://shop-bucket/x.tar.gz", "--bucket", "gs://shop-bucket", "--api-endpoint", cloud.address]
    run(capsys, "train", "gs://shop-bucket/data", *PLACE, *own)
    assert cloud.objects == {}
    assert len(cloud.received) == 1


def test_deploy_uploads_the_model_and_moves_the_traffic(cloud, sasrec_export, capsys):
    model = ["deploy", sasrec_export, *PLACE, "--bucket", "gs://shop-bucket", "--name", "shop", "--max-replicas", "3"]
    said = run(capsys, *model, "--label", "team=shop", "--api-endpoint", cloud.address)
    assert f"{PARENT}/endpoints/99 serves {PARENT}/models/5@1" in said
    (_, upload), (_, endpoint), (call, deploy) = cloud.received
    assert upload.model.container_spec.image_uri == "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
    assert dict(upload.model.labels) == dict(endpoint.labels) == {"team": "shop"}
    place = upload.model.artifact_uri.removeprefix("gs://")
    for file in (sasrec_export / "1").rglob("*"):
        if file.is_file():
            assert cloud.objects[f"{place}/{file.relative_to(sasrec_export / '1').as_posix()}"] == file.read_bytes()
    assert list(cloud.objects)[-1] == f"{place}/saved_model.pb"
    assert endpoint.display_name == "shop"
    assert call == "endpoints/99:deployModel"
    assert dict(deploy.traffic_split) == {"0": 100}
    assert deploy.deployed_model.model == f"{PARENT}/models/5@1"
    resources = deploy.deployed_model.dedicated_resources
    assert resources.machine_spec.machine_type == "n1-standard-4"
    assert (resources.min_replica_count, resources.max_replica_count) == (1, 3)


def test_deploy_moves_the_traffic_of_an_endpoint(cloud, capsys):
    model = ["deploy", "gs://shop-bucket/may/model", *PLACE, "--endpoint", "77", "--parent-model", "5"]
    said = run(capsys, *model, "--api-endpoint", cloud.address)
    (_, upload), (call, _) = cloud.received
    assert upload.parent_model == f"{PARENT}/models/5"
    assert call == "endpoints/77:deployModel"
    assert f"still deployed and billed, without traffic: {PARENT}/models/4. Undeploy it: gcloud ai endpoints" in said
    assert "undeploy-model 77 --deployed-model-id=8 --project=shop-project" in said

    cloud.received.clear()
    said = run(capsys, *model, "--undeploy-old", "--api-endpoint", cloud.address)
    assert f"undeployed {PARENT}/models/4" in said
    _, _, (call, undeploy) = cloud.received
    assert (call, undeploy.deployed_model_id) == ("endpoints/77:undeployModel", "8")
    assert "Also give --endpoint" in run(capsys, *model[:6], "--undeploy-old", code=2)


def test_a_dry_deployment_sends_nothing(cloud, sasrec_export, capsys):
    model = ["deploy", sasrec_export, *PLACE, "--bucket", "gs://shop-bucket", "--name", "shop"]
    printed = yaml.safe_load(run(capsys, *model, "--dry-run"))
    assert printed["uploadModel"]["model"]["artifactUri"].startswith("gs://shop-bucket/models/shop/")
    assert cloud.received == []
    assert cloud.objects == {}


def test_a_bucket_that_does_not_exist(cloud, data, capsys):
    job = ["train", data, *PLACE, "--bucket", "gs://no-such-bucket", "--api-endpoint", cloud.address]
    said = run(capsys, *job, code=2)
    assert "The bucket gs://no-such-bucket does not exist. Create it with `gcloud storage buckets create" in said
    assert cloud.received == []


def test_an_endpoint_that_does_not_exist(cloud, sasrec_export, capsys):
    model = ["deploy", sasrec_export, *PLACE, "--bucket", "gs://shop-bucket", "--endpoint", "78"]
    said = run(capsys, *model, "--api-endpoint", cloud.address, code=2)
    assert "The endpoint 78: not found" in said
    assert cloud.objects == {}


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (403, "Permission aiplatform.customJobs.create denied", "not allowed: .*customJobs.create denied"),
        (400, "Quota exceeded", "The job: refused: .*Quota exceeded"),
        (401, "Token expired", "the credentials are not accepted"),
    ],
)
def test_a_refusal_is_one_line(cloud, capsys, status, message, says):
    cloud.refuse["/customJobs"] = status, message
    own = ["--package", "gs://shop-bucket/x.tar.gz", "--bucket", "gs://shop-bucket", "--api-endpoint", cloud.address]
    said = run(capsys, "train", "gs://shop-bucket/data", *PLACE, *own, code=2)
    assert re.search(says, said), said


def test_no_credentials(monkeypatch, tmp_path, capsys):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))  # folder of gcloud's own credentials
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # no request to the machine's metadata server
    job = ["train", "gs://shop-bucket/data", *PLACE, "--bucket", "gs://shop-bucket"]
    said = run(capsys, *job, code=2)
    assert "No Google Cloud credentials were found. Run `gcloud auth application-default login`" in said


def test_a_key_file_that_is_not_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone.json"))
    job = ["train", "gs://shop-bucket/data", *PLACE, "--bucket", "gs://shop-bucket"]
    assert "gone.json" in run(capsys, *job, code=2)


def test_without_the_extra(monkeypatch, capsys):
    import google.cloud

    monkeypatch.delattr(google.cloud, "aiplatform_v1", raising=False)
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    with pytest.raises(ValueError, match=r"pip install 'laclrec_tf\[vertex\]'"):
        import_vertex()
    job = ["train", "gs://shop-bucket/data", *PLACE, "--bucket", "gs://shop-bucket"]
    assert "Install it with `pip install 'laclrec_tf[vertex]'`" in run(capsys, *job, code=2)
    monkeypatch.setitem(sys.modules, "google.api_core.exceptions", None)
    assert "Install it with `pip install 'laclrec_tf[vertex]'`" in run(capsys, *job, "--upload-only", code=2)
    assert "workerPoolSpecs" in run(capsys, *job, "--dry-run")  # no request


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--machine-type", "e2-standard-4", "--accelerator", "NVIDIA_TESLA_T4"],
            "Only n1 machines can have",
        ),
        (["--label", "team"], "`--label` takes NAME=VALUE"),
        (["--set", "widht=3"], "Did you mean 'width'?"),
        (
            ["--machine-type", "a2-megagpu-16g", "--accelerator", "NVIDIA_TESLA_A100"],
            "has 16 accelerators, and a worker trains on one. Give a machine type with one, e.g. a2-highgpu-1g.",
        ),
    ],
)
def test_mistakes(capsys, arguments, says):
    job = ["train", "gs://shop-bucket/data", *PLACE, "--bucket", "gs://shop-bucket", "--dry-run", *arguments]
    assert says in run(capsys, *job, code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--machine-type", "a2-highgpu-1g", "--accelerator", "NVIDIA_TESLA_A100", "--accelerator-count", "8"],
            "Machine type a2-highgpu-1g has 1 accelerator. Received: --accelerator-count 8. Give --accelerator-count 1",
        ),
        (
            ["--name", "x y/z"],
            "Argument `name` must have at most 128 letters, digits, '-', '_' and '.', and start with a letter or "
            "a digit. Received: 'x y/z'.",
        ),
    ],
)
def test_mistakes_of_a_deployment(capsys, arguments, says):
    model = ["deploy", "gs://shop-bucket/may/model", *PLACE, "--dry-run", *arguments]
    assert says in run(capsys, *model, code=2)


def test_local_data_must_be_prepared(capsys, tmp_path):
    job = ["train", tmp_path, *PLACE, "--bucket", "gs://shop-bucket", "--dry-run"]
    assert "is not prepared data" in run(capsys, *job, code=2)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("FAILED", "The job ended as FAILED: Out of memory. See its log: `gcloud ai custom-jobs stream-logs 42 "),
        ("CANCELLED", "The job ended as CANCELLED. See its log"),
    ],
)
def test_a_job_that_ends_without_a_model(cloud, end, says):
    cloud.states = [f"JOB_STATE_{state}" for state in ("PENDING", "PENDING", "RUNNING", end)]
    job, lines = SubmittedJob(f"{PARENT}/customJobs/42", "gs://shop-bucket/may", "shop-project"), []
    with pytest.raises(InputError, match=says):
        wait_for_job(job, poll_seconds=0, api_endpoint=cloud.address, on_step=lines.append)
    assert lines == ["job: pending", "job: running", f"job: {end.lower()}"]
