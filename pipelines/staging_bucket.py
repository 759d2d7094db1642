"""Put files and folders into Cloud Storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import bucket_of
from pipelines.vertex_client import VertexClient, refusals


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
