"""Train on Vertex AI: put package and data into the bucket, and submit the job."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laclrec_tf
from laclrec_tf.data.prepared import DATASET_FILE, PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import SCHEME, bucket_of
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.vertex.client import VertexClient, import_vertex, refusals
from laclrec_tf.vertex.job import VertexJob

FILE_NAME = f"laclrec_tf-{laclrec_tf.__version__}.tar.gz"


def build_source_distribution(out: Path, *, source: Path | None = None) -> Path:
    """Build the source distribution of the checkout that this runs from.

    Args:
        out: the folder to write it into.
        source: the checkout, the folder of `setup.py`. Default: the one that this module lies in.

    Returns:
        The file.

    Raises:
        InputError: this runs from an installation without its sources, or the build failed.

    Example:
        >>> build_source_distribution(Path("dist"))  # doctest: +SKIP
        PosixPath('dist/laclrec_tf-0.1.0.tar.gz')
    """
    source = source or Path(__file__).parents[2]
    if not (source / "setup.py").is_file():
        raise InputError(
            f"{source} has no setup.py to build the package of: run from a checkout, or give --package gs://...tar.gz."
        )
    with tempfile.TemporaryDirectory() as scratch:  # what setuptools notes stays out of the checkout
        command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", scratch]
        command += ["sdist", "--formats", "gztar", "--dist-dir", f"{scratch}/dist"]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        made = list(Path(scratch, "dist").glob("*.tar.gz"))
        if done.returncode or not made:
            reason = (done.stderr.strip().splitlines() or ["no file came out"])[-1]
            raise InputError(
                f"The source distribution could not be built: {reason}. Mend it, or give --package gs://...tar.gz."
            )
        out.mkdir(parents=True, exist_ok=True)
        # Older setuptools write a hyphen for the underscore.
        return Path(shutil.copy(made[0], out / FILE_NAME))


class StagingBucket:
    """A bucket that is there.

    Args:
        client: whose.
        uri: "gs://BUCKET" or a place in it.

    Raises:
        InputError: there is no such bucket, or it cannot be asked.
    """

    def __init__(self, client: VertexClient, uri: str) -> None:
        name, _ = bucket_of(uri)
        storage = client.storage()  # first of all: it says in a line when Google's libraries are not installed
        from google.api_core.exceptions import NotFound

        with refusals(f"The bucket gs://{name}"):
            try:
                self.bucket: Any = storage.get_bucket(name)
            except NotFound:
                raise InputError(
                    f"The bucket gs://{name} does not exist. Make it with `gcloud storage buckets create gs://{name} "
                    f"--project={client.project} --location={client.region}`, or give another --bucket."
                ) from None

    def upload(self, file: Path, uri: str) -> str:
        """Upload a file, and return where it is.

        Raises:
            InputError: it could not be written.
        """
        _, name = bucket_of(uri)
        with refusals(f"Uploading {file}"):
            self.bucket.blob(name).upload_from_filename(str(file))
        return uri

    def upload_folder(self, folder: Path, uri: str, last: str) -> str:
        """Upload what a folder holds, and return where it is.

        Args:
            folder: a local folder.
            uri: "gs://BUCKET/FOLDER".
            last: the file without which a reader takes the folder for none; it goes last of all, so that a folder
                that has it is whole. When it is there already, nothing is uploaded.

        Raises:
            InputError: a file could not be written.
        """
        _, name = bucket_of(uri)
        with refusals(f"Looking into {uri}"):
            if self.bucket.blob(f"{name}/{last}").exists():
                return uri
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda each: each == folder / last):
            self.upload(file, f"{uri}/{file.relative_to(folder).as_posix()}")
        return uri


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
