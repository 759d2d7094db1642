"""The model versions that a server has in memory."""

from __future__ import annotations

from pathlib import Path

import grpc
from tensorflow_serving.apis import model_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.loaded_model import LoadedModel
from laclrec_tf.serving.model_versions import newest_version
from laclrec_tf.serving.prediction import predict
from laclrec_tf.serving.serving_error import ServingError
from laclrec_tf.serving.warmup import read_warmup_requests


class ModelStore:
    """One model under its name, with the newest version found in its folder.

    Args:
        model_name: the name that requests must give.
        base_path: the model's folder, with one sub-folder for each version.

    Attributes:
        versions: the loaded versions by number.

    Raises:
        InputError: there is no version, or the newest one cannot be loaded or does not answer its own warm-up
            requests.
    """

    def __init__(self, model_name: str, base_path: Path) -> None:
        """Load the newest version and warm it up."""
        self.model_name = model_name
        number, folder = newest_version(base_path)
        model = LoadedModel(folder)
        for request in read_warmup_requests(folder):
            try:
                predict(model, request)
            except ServingError as error:
                raise InputError(
                    f"{folder} fails its own warm-up requests: {error.message}. Export the model again."
                ) from error
        self.versions: dict[int, LoadedModel] = {number: model}

    def resolve(self, spec: model_pb2.ModelSpec) -> tuple[int, LoadedModel]:
        """Find the version that a request names; without a version the newest.

        Args:
            spec: name, and perhaps a version.

        Returns:
            The version's number and model.

        Raises:
            ServingError: NOT_FOUND, another name or version; INVALID_ARGUMENT, any version label.
        """
        if spec.version_label:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            )
        wanted = spec.version.value if spec.HasField("version") else max(self.versions)
        if spec.name != self.model_name or wanted not in self.versions:
            asked = f"Specific({spec.name}, {wanted})" if spec.HasField("version") else f"Latest({spec.name})"
            held = ", ".join(str(number) for number in self.versions)
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: {asked}. Served here: {self.model_name}, version {held}.",
            )
        return wanted, self.versions[wanted]
