"""Train on Vertex AI: put package and data into the bucket, and submit the job."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.data.prepared import DATASET_FILE, PreparedData
from laclrec_tf.runtime.cloud_storage import SCHEME
from laclrec_tf.training.config import TrainConfig
from pipelines.source_distribution import FILE_NAME, build_source_distribution
from pipelines.staging_bucket import StagingBucket
from pipelines.vertex_client import VertexClient, import_vertex, refusals
from pipelines.vertex_job import VertexJob


@dataclass(frozen=True)
class SubmittedJob:
    """A job that Vertex AI took.

    Args:
        resource: "projects/P/locations/R/customJobs/ID".
        folder: "gs://..." where its results go.
    """

    resource: str
    folder: str


def vertex_job(data: str, package: str | None, bucket: str, **job: Any) -> VertexJob:
    """Describe a job, before anything is uploaded.

    Args:
        data: a folder made by `laclrec-tf prepare`, local or "gs://...".
        package: "gs://..." of the source distribution. Default: None, it will be put beside the results.
        bucket: "gs://BUCKET" or a folder in it.
        **job: the other arguments of `VertexJob`.

    Raises:
        InputError: an argument or a setting does not fit, or local data are none.
    """
    bucket = bucket.rstrip("/")
    TrainConfig.of(job.get("settings", {}))
    if not data.startswith(SCHEME):
        data = f"{bucket}/data/{PreparedData.open(data).data_hash[:16]}"
    return VertexJob(data=data, package=package or f"{bucket}/{job['name']}/package/{FILE_NAME}", bucket=bucket, **job)


def train_on_vertex(
    job: VertexJob,
    data: str,
    *,
    build_package: bool = True,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> SubmittedJob:
    """Upload what the job needs and submit it; it goes on without this process.

    Args:
        job: as `vertex_job` described it.
        data: what `vertex_job` was given; a local folder is uploaded unless the bucket has it.
        build_package: build and upload the source distribution. Default: True.
        api_endpoint: see `VertexClient`. Default: None.
        on_step: called with what was done, a line each. Default: nothing.

    Returns:
        The job.

    Raises:
        InputError: no credentials, no such bucket, or Google Cloud refuses; no job was submitted then.
    """
    client = VertexClient(job.project, job.region, api_endpoint)
    asked_for = _custom_job(job)
    service = client.service("JobServiceClient")
    upload_for(job, data, build_package=build_package, api_endpoint=api_endpoint, on_step=on_step)
    with refusals("The job"):
        made = service.create_custom_job(parent=client.parent, custom_job=asked_for)
    return SubmittedJob(made.name, job.folder)


def upload_for(
    job: VertexJob,
    data: str,
    *,
    build_package: bool = True,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> None:
    """Upload what the job's spec names; see `train_on_vertex` for the arguments.

    Raises:
        InputError: no credentials, no such bucket, or Google Cloud refuses.
    """
    bucket = StagingBucket(VertexClient(job.project, job.region, api_endpoint), job.bucket)
    if build_package:
        with tempfile.TemporaryDirectory() as scratch:
            on_step(f"uploaded {bucket.upload(build_source_distribution(Path(scratch)), job.package)}")
    if not data.startswith(SCHEME):
        on_step(f"uploaded {bucket.upload_folder(Path(data), job.data, last=DATASET_FILE)}")


def _custom_job(job: VertexJob) -> Any:
    import_vertex()
    from google.cloud.aiplatform_v1.types import CustomJob, CustomJobSpec
    from google.protobuf import json_format

    spec = CustomJobSpec()
    json_format.ParseDict(job.spec(), CustomJobSpec.pb(spec))
    return CustomJob(display_name=job.name, job_spec=spec, labels=dict(job.labels))
