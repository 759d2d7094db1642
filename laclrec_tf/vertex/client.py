"""Google Cloud's clients, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import bucket_of

_NO_CREDENTIALS = (
    "No Google Cloud credentials were found. Run `gcloud auth application-default login`, or set "
    "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file."
)


@dataclass(frozen=True)
class VertexClient:
    """A project and a region, with clients for them.

    Args:
        project: Google Cloud project.
        region: Google Cloud region, e.g. "us-central1".
        api_endpoint: address of Vertex AI's API. An address that starts with "http://" or "https://" is called with
            JSON instead of gRPC. Default: the region's own.
    """

    project: str
    region: str
    api_endpoint: str | None = None

    @property
    def parent(self) -> str:
        """Resource name of the parent of jobs, models and endpoints."""
        return f"projects/{self.project}/locations/{self.region}"

    def service(self, name: str) -> Any:
        """Return a client of `google.cloud.aiplatform_v1` by name, e.g. "JobServiceClient".

        Raises:
            InputError: the extra `vertex` is not installed, or there are no credentials.
        """
        vertex = import_vertex()
        endpoint = self.api_endpoint or f"{self.region}-aiplatform.googleapis.com"
        with refusals(f"Vertex AI in {self.region}"):
            return getattr(vertex, name)(
                client_options={"api_endpoint": endpoint},
                transport="rest" if "://" in endpoint else "grpc",
            )

    def storage(self) -> Any:
        """Return a client of Cloud Storage.

        Raises:
            InputError: see `service`.
        """
        import_vertex()
        from google.cloud import storage

        with refusals("Cloud Storage"):
            return storage.Client(project=self.project)


class StagingBucket:
    """An existing bucket, for uploads.

    Args:
        client: client of its project.
        uri: "gs://BUCKET" or a place in it.

    Raises:
        InputError: the bucket does not exist, or Cloud Storage refuses.
    """

    def __init__(self, client: VertexClient, uri: str) -> None:
        name, _ = bucket_of(uri)
        storage = client.storage()  # before the next import: it reports in one line that the extra is missing
        from google.api_core.exceptions import NotFound

        with refusals(f"The bucket gs://{name}"):
            try:
                self.bucket: Any = storage.get_bucket(name)
            except NotFound:
                raise InputError(
                    f"The bucket gs://{name} does not exist. Create it with `gcloud storage buckets create gs://{name} "
                    f"--project={client.project} --location={client.region}`, or give another --bucket."
                ) from None

    def upload(self, file: Path, uri: str) -> str:
        """Upload a file and return `uri`.

        Raises:
            InputError: the file could not be written.
        """
        _, name = bucket_of(uri)
        with refusals(f"Uploading {file}"):
            self.bucket.blob(name).upload_from_filename(str(file))
        return uri

    def upload_folder(self, folder: Path, uri: str, last: str) -> str:
        """Upload a folder with its subfolders and return `uri`.

        Args:
            folder: a local folder.
            uri: "gs://BUCKET/FOLDER".
            last: name of the file to upload last. Readers ignore a folder without it, so a folder that has it is
                complete. If it exists already, nothing is uploaded.

        Raises:
            InputError: a file could not be written.
        """
        _, name = bucket_of(uri)
        with refusals(f"Reading {uri}"):
            if self.bucket.blob(f"{name}/{last}").exists():
                return uri
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda each: each == folder / last):
            self.upload(file, f"{uri}/{file.relative_to(folder).as_posix()}")
        return uri


def import_vertex() -> Any:
    """Import `google.cloud.aiplatform_v1`.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        from google.cloud import aiplatform_v1
    except ImportError:
        raise InputError(
            "Vertex AI needs google-cloud-aiplatform. Install it with `pip install 'laclrec_tf[vertex]'`."
        ) from None
    return aiplatform_v1


def as_message(name: str, fields: dict[str, Any]) -> Any:
    """Return a message of the API.

    Args:
        name: its type, e.g. "CustomJobSpec".
        fields: its fields, in their JSON form.

    Raises:
        InputError: the extra is not installed.
    """
    kind = getattr(import_vertex(), name)
    from google.protobuf import json_format

    message = kind()
    json_format.ParseDict(fields, kind.pb(message))
    return message


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn errors of Google Cloud's clients into an `InputError`.

    Args:
        what: subject of the message, e.g. "The job".

    Raises:
        InputError: credentials are missing or invalid, the call was refused, or there was no answer.
    """
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from requests.exceptions import ConnectionError as NoConnection

    try:
        yield
    except DefaultCredentialsError as error:
        is_key_file_missing = "was not found" in str(error)  # then the error names the file
        raise InputError(f"{_NO_CREDENTIALS} {error}" if is_key_file_missing else _NO_CREDENTIALS) from None
    except (Unauthorized, GoogleAuthError) as error:
        raise InputError(
            f"{what}: the credentials are not accepted: {_first_line(error)}. "
            "Run `gcloud auth application-default login` again."
        ) from None
    except Forbidden as error:
        raise InputError(
            f"{what}: not allowed: {_first_line(error)}. Grant the account a role that allows it, or use another one."
        ) from None
    except NotFound as error:
        raise InputError(f"{what}: not found: {_first_line(error)}. Check the names and --region.") from None
    except GoogleAPICallError as error:
        raise InputError(f"{what}: refused: {_first_line(error)}.") from None
    except (RetryError, NoConnection) as error:
        raise InputError(f"{what}: no answer: {_first_line(error)}. Check the network and --region.") from None


def finished(operation: Any, what: str, seconds: float) -> Any:
    """Wait for a long-running operation and return its result.

    Args:
        operation: the operation, as a client returned it.
        what: subject of the error message, e.g. "Uploading the model".
        seconds: max time to wait.

    Raises:
        InputError: the operation failed or takes longer.
    """
    from concurrent.futures import TimeoutError as TookLonger

    with refusals(what):
        try:
            return operation.result(timeout=seconds)
        except TookLonger:
            raise InputError(
                f"{what} takes longer than {seconds / 60:.0f} minutes. It continues: watch {operation.operation.name}."
            ) from None


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    return (str(text).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
