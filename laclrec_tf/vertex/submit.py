"""Train on Vertex AI: upload the package and the data, submit the job, and wait for its end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laclrec_tf
from laclrec_tf.data.prepared import DATASET_FILE, PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import SCHEME
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.vertex.client import StagingBucket, VertexClient, as_message, refusals
from laclrec_tf.vertex.job import VertexJob

FILE_NAME = f"laclrec_tf-{laclrec_tf.__version__}.tar.gz"
POLL_RETRY_SECONDS = 600.0


def vertex_job(data: str, package: str | None, bucket: str, **job: Any) -> VertexJob:
    """Describe a job; nothing is uploaded.

    Args:
        data: a folder made by `laclrec-tf prepare`, local or "gs://...".
        package: "gs://..." of the source distribution. None: a place next to the results, for `train_on_vertex` to
            upload it to.
        bucket: "gs://BUCKET" or a folder in it.
        **job: the other arguments of `VertexJob`.

    Raises:
        InputError: an argument or a setting is invalid, or a local folder has no prepared data.
    """
    bucket = bucket.rstrip("/")
    TrainConfig.of(job.get("settings", {}))
    if not data.startswith(SCHEME):
        data = f"{bucket}/data/{PreparedData.open(data).data_hash[:16]}"
    return VertexJob(data=data, package=package or f"{bucket}/{job['name']}/package/{FILE_NAME}", bucket=bucket, **job)


@dataclass(frozen=True)
class SubmittedJob:
    """A job that Vertex AI accepted.

    Args:
        resource: "projects/P/locations/R/customJobs/ID".
        folder: "gs://..." of its results.
        project: Google Cloud project.
    """

    resource: str
    folder: str
    project: str

    @property
    def logs_command(self) -> str:
        """The `gcloud` command that prints the job's log while it runs, and afterwards."""
        number = self.resource.rpartition("/")[2]
        return f"gcloud ai custom-jobs stream-logs {number} --project={self.project} --region={self.region}"

    @property
    def region(self) -> str:
        """Google Cloud region."""
        return self.resource.split("/")[3]


def train_on_vertex(
    job: VertexJob,
    data: str,
    *,
    build_package: bool = True,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> SubmittedJob:
    """Upload the files that the job needs and submit it. It runs on without this process.

    Args:
        job: the job, as `vertex_job` described it.
        data: the first argument of `vertex_job`. A local folder is uploaded unless the bucket has it.
        build_package: build and upload the source distribution. Default: True.
        api_endpoint: see `VertexClient`. Default: None.
        on_step: function called with a line of text after each step. Default: nothing.

    Returns:
        The job.

    Raises:
        InputError: there are no credentials, the bucket does not exist, or Google Cloud refuses. No job was submitted.
    """
    client = VertexClient(job.project, job.region, api_endpoint)
    spec = as_message("CustomJobSpec", job.spec())
    service = client.service("JobServiceClient")
    upload_for(job, data, build_package=build_package, api_endpoint=api_endpoint, on_step=on_step)
    request = {"display_name": job.name, "job_spec": spec, "labels": dict(job.labels)}
    with refusals("The job"):
        created = service.create_custom_job(parent=client.parent, custom_job=request)
    return SubmittedJob(created.name, job.folder, job.project)


def upload_for(
    job: VertexJob,
    data: str,
    *,
    build_package: bool = True,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> None:
    """Upload the files that the job's spec names; see `train_on_vertex` for the arguments.

    Raises:
        InputError: there are no credentials, the bucket does not exist, or Google Cloud refuses.
    """
    bucket = StagingBucket(VertexClient(job.project, job.region, api_endpoint), job.bucket)
    if build_package:
        with tempfile.TemporaryDirectory() as scratch:
            on_step(f"uploaded {bucket.upload(build_source_distribution(Path(scratch)), job.package)}")
    if not data.startswith(SCHEME):
        on_step(f"uploaded {bucket.upload_folder(Path(data), job.data, last=DATASET_FILE)}")


def wait_for_job(
    job: SubmittedJob,
    *,
    poll_seconds: float = 60.0,
    api_endpoint: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> None:
    """Wait until a job has succeeded.

    Args:
        job: the job.
        poll_seconds: seconds between two requests for its state. Default: 60.
        api_endpoint: see `VertexClient`. Default: None.
        on_step: function called with a line of text at each change of the state. Default: nothing.

    Raises:
        InputError: the job failed, was cancelled or expired, or Vertex AI gave no answer for ten minutes.
    """
    service = VertexClient(job.project, job.region, api_endpoint).service("JobServiceClient")
    from google.api_core.retry import Retry

    state = ""
    while state not in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"):
        if state:
            time.sleep(poll_seconds)
        with refusals("The job"):
            found = service.get_custom_job(name=job.resource, retry=Retry(timeout=POLL_RETRY_SECONDS))
        before, state = state, found.state.name.removeprefix("JOB_STATE_")
        if state != before:
            on_step(f"job: {state.lower()}")
    if state != "SUCCEEDED":
        reason = f": {found.error.message.rstrip('.')}" if found.error.message else ""
        raise InputError(f"The job ended as {state}{reason}. See its log: `{job.logs_command}`.")


def build_source_distribution(out: Path, *, source: Path | None = None) -> Path:
    """Build the source distribution of a checkout.

    Args:
        out: folder to write it to.
        source: the checkout, the folder with `setup.py`. Default: the checkout of this module.

    Returns:
        The file.

    Raises:
        InputError: `source` has no `setup.py`, because the package is installed without its sources, or the build
            failed.

    Example:
        >>> build_source_distribution(Path("dist"))  # doctest: +SKIP
        PosixPath('dist/laclrec_tf-0.1.0.tar.gz')
    """
    source = source or Path(__file__).parents[2]
    if not (source / "setup.py").is_file():
        raise InputError(
            f"{source} has no setup.py, so the package cannot be built. Run from a checkout, or give --package "
            "gs://...tar.gz."
        )
    with tempfile.TemporaryDirectory() as scratch:  # setuptools writes its notes here, not into the checkout
        command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", scratch]
        command += ["sdist", "--formats", "gztar", "--dist-dir", f"{scratch}/dist"]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        built = list(Path(scratch, "dist").glob("*.tar.gz"))
        if done.returncode or not built:
            reason = (done.stderr.strip().splitlines() or ["no file was written"])[-1]
            raise InputError(
                f"The source distribution could not be built: {reason}. Fix this, or give --package gs://...tar.gz."
            )
        out.mkdir(parents=True, exist_ok=True)
        # Older versions of setuptools write a hyphen in place of the underscore.
        return Path(shutil.copy(built[0], out / FILE_NAME))
