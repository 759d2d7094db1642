"""The models of a server by name: found for requests, changed by configurations and by what lies on disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.served_model import ServedModel, ServedVersion

logger = logging.getLogger(__name__)


class ModelRegistry:
    """Finds the version that a request asks for, and swaps versions behind the requests' backs.

    A new version is loaded and warmed up before requests see it; the old one goes when its last request is answered.
    Requests never wait for any of it.

    Args:
        intra_op_threads: see `LoadedModel`. Default: 1.
        on_state: called with model, version and state's name when a version changes its state. Default: nothing.

    Example:
        >>> ModelRegistry().acquire(model_pb2.ModelSpec(name="shop"))
        Traceback (most recent call last):
        laclrec_tf.serving.errors.ServingError: Servable not found for request: Latest(shop). Served here: none.
    """

    def __init__(self, intra_op_threads: int = 1, on_state: Callable[[str, int, str], None] | None = None) -> None:
        """Begin without models."""
        self._intra_op_threads = intra_op_threads
        self._on_state = on_state
        self._changing = threading.Lock()  # one change at a time
        self._models: dict[str, ServedModel] = {}  # replaced as a whole, so that it is read without a lock

    def acquire(self, spec: model_pb2.ModelSpec) -> ServedVersion:
        """Find the version that a request names, and hold it; the caller must `release` it.

        Args:
            spec: a name, and perhaps a version or a label of one. Without, the newest version is meant.

        Returns:
            The version.

        Raises:
            ServingError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, no such label; UNAVAILABLE, the
                model is still being loaded.
        """
        while True:
            version = self._find(spec)
            if version.acquire():  # else it was swapped a moment ago, and there is a newer one
                return version

    def statuses(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Tell the states of a model's versions, newest first, or of the one that `spec` names.

        Raises:
            ServingError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, no such label.
        """
        model = self._models.get(spec.name)
        if model is None:
            raise _not_found(f"Could not find any versions of model {spec.name}")
        number = self._asked_number(model, spec)
        chosen = [version for version in model.versions.values() if number in (None, version.number)]
        if not chosen and number is not None:
            raise _not_found(f"Could not find version {number} of model {spec.name}")
        return [version.status() for version in sorted(chosen, key=lambda v: v.number, reverse=True)]

    def apply(self, config: ModelServerConfig) -> None:
        """Serve what a configuration says, and nothing else. A configuration that cannot be served changes nothing.

        Args:
            config: a list of models, each with a base path, perhaps a version policy and labels.

        Raises:
            InputError: the configuration is wrong, or a model has no version that loads.
            ServingError: FAILED_PRECONDITION, a label is for a version that is not AVAILABLE.
        """
        with self._changing:
            before = self._models
            after = self._planned(config)
            if not before:
                self._models = after  # so that states are told while loading
            loaded: list[ServedVersion] = []
            try:
                for model in after.values():
                    loaded += model.load_missing(self._intra_op_threads)
                    _check_served(model)
            except BaseException:
                self._models = before
                for version in loaded:
                    version.unload()
                raise
            self._models = after
            kept = {id(version) for model in after.values() for version in model.versions.values()}
            gone = [v for model in before.values() for v in model.versions.values() if id(v) not in kept]
            for version in gone + [v for model in after.values() for v in model.surplus()]:
                version.unload()

    def refresh(self) -> None:
        """Look at the folders: load what is new, then unload what is not wanted any more."""
        with self._changing:
            for model in self._models.values():
                try:
                    model.load_missing(self._intra_op_threads)
                    for version in model.surplus():
                        version.unload()
                    model.forget_ended()
                except OSError:
                    logger.exception("model %s: its folder cannot be read; it is served as before", model.name)

    def close(self, drain_seconds: float = 0.0) -> None:
        """Unload everything.

        Args:
            drain_seconds: how long running requests may take. Default: 0.
        """
        with self._changing:
            models, self._models = self._models, {}
            for model in models.values():
                for version in model.versions.values():
                    version.unload(drain_seconds)

    def _planned(self, config: ModelServerConfig) -> dict[str, ServedModel]:
        if config.WhichOneof("config") != "model_config_list":
            raise InputError("The configuration must be a model_config_list.")
        planned: dict[str, ServedModel] = {}
        for entry in config.model_config_list.config:
            if entry.name in planned:
                raise InputError(f"The configuration names model {entry.name} twice.")
            planned[entry.name] = ServedModel(entry, self._models.get(entry.name), self._on_state)
        return planned

    def _find(self, spec: model_pb2.ModelSpec) -> ServedVersion:
        model = self._models.get(spec.name)
        if model is None:
            number = spec.version.value if spec.HasField("version") else None
        else:
            number = self._asked_number(model, spec)
            answering = {version.number: version for version in model.available()}
            if number in answering or (answering and number is None):
                return answering[max(answering) if number is None else number]
            if not answering and not any(version.error for version in model.versions.values()):
                raise ServingError(grpc.StatusCode.UNAVAILABLE, f"Model {spec.name} is still being loaded.")
        asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
        raise _not_found(f"Servable not found for request: {asked}. Served here: {self._described()}.")

    def _asked_number(self, model: ServedModel, spec: model_pb2.ModelSpec) -> int | None:
        if spec.version_label:
            if spec.version_label not in model.labels:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
                )
            return model.labels[spec.version_label]
        return spec.version.value if spec.HasField("version") else None

    def _described(self) -> str:
        described = []
        for name, model in self._models.items():
            numbers = [str(version.number) for version in model.available()]
            described.append(f"{name}, version{'s' if len(numbers) > 1 else ''} {' and '.join(numbers) or 'none'}")
        return "; ".join(described) or "none"


def _check_served(model: ServedModel) -> None:
    available = {version.number for version in model.available()}
    if not available:
        raise model.first_error()
    for label, number in model.labels.items():
        if number not in available:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Request to assign label {label} to version {number} of model {model.name}, which is not currently "
                "available for inference",
            )


def _not_found(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, message)
