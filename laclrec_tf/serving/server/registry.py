"""The models of a server: requests find their version here, configurations and folders change it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.served_model import ServedModel, ServedVersion

logger = logging.getLogger(__name__)
WAIT_SECONDS = 1.0  # between two looks at files that are being copied
MAX_WAIT_SECONDS = 60.0


class ModelRegistry:
    """Finds the version that a request selects, and replaces versions while requests run.

    A new version is loaded and warmed up before requests find it; the old one is unloaded after its last request.
    Requests never wait for this.

    Args:
        intra_op_threads: see `LoadedModel`. Default: 1.
        on_state: called with the model's name, the version's number and the state's name when a version changes its
            state. Default: nothing.

    Example:
        >>> ModelRegistry().acquire(model_pb2.ModelSpec(name="shop"))
        Traceback (most recent call last):
        laclrec_tf.serving.errors.ServingError: The server is starting or stopping. Try again later.
    """

    def __init__(self, intra_op_threads: int = 1, on_state: Callable[[str, int, str], None] | None = None) -> None:
        self._intra_op_threads = intra_op_threads
        self._on_state = on_state
        self._changing = threading.Lock()  # one change at a time
        self._models: dict[str, ServedModel] = {}  # replaced as a whole, and so read without a lock
        self._is_open = False  # from the first configuration to `close`
        self._closing = threading.Event()  # ends the wait for files
        self._trouble: dict[str, str] = {}  # why a model's folder could not be read at the last look

    def acquire(self, spec: model_pb2.ModelSpec) -> ServedVersion:
        """Find the version that a request selects, and hold it; the caller must `release` it.

        Args:
            spec: name of the model, and optionally a version or the label of one. Default: the newest version.

        Returns:
            The version.

        Raises:
            ServingError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, no such label; UNAVAILABLE, the
                model is still being loaded, or the server starts or stops.
        """
        while True:
            version = self._find(spec)
            if version.acquire():  # else it was replaced in the meantime by a newer one
                return version

    def statuses(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """Return the states of a model's versions, newest first, or of the one that `spec` selects.

        Raises:
            ServingError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, no such label; UNAVAILABLE, the server
                starts or stops.
        """
        model = self._model(spec)
        if model is None:
            raise _not_found(f"Could not find any versions of model {spec.name}")
        number = _selected_number(model, spec)
        chosen = [version for version in model.versions.values() if number in (None, version.number)]
        if not chosen and number is not None:
            raise _not_found(f"Could not find version {number} of model {spec.name}")
        return [version.status() for version in sorted(chosen, key=lambda v: v.number, reverse=True)]

    def apply(self, config: ModelServerConfig) -> None:
        """Serve the models of a configuration, and no others. When one cannot be served, nothing changes.

        Args:
            config: a list of models, each with a base path, and optionally a version policy and labels.

        Raises:
            InputError: the configuration is wrong, or a model has no version that loads.
            ServingError: FAILED_PRECONDITION, a label selects a version that is not AVAILABLE.
        """
        with self._changing:
            before = self._models
            after = self._planned(config)
            if not before:
                self._models, self._is_open = after, True  # so that `statuses` answers while they load
            loaded: list[ServedVersion] = []
            try:
                for model in after.values():
                    loaded += self._load_missing(model)
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

    def has_models(self) -> bool:
        """Return whether there is a model to serve."""
        return bool(self._models)

    def refresh(self) -> None:
        """Read the folders: load new versions, and again those whose files have changed; unload those not wanted."""
        with self._changing:
            for model in self._models.values():
                try:
                    model.load_missing(self._intra_op_threads)
                    model.load_changed(self._intra_op_threads)
                    for version in model.surplus():
                        version.unload()
                    model.forget_ended()
                    self._trouble.pop(model.name, None)
                except OSError as error:
                    if self._trouble.get(model.name) != str(error):  # the next look is in a second
                        self._trouble[model.name] = str(error)
                        text = "model %s: cannot read its folder, so its versions stay as they are: %s"
                        logger.error(text, model.name, error)

    def close(self, drain_seconds: float = 0.0) -> None:
        """Unload all versions.

        Args:
            drain_seconds: max seconds to wait for running requests. Default: 0.
        """
        self._closing.set()
        with self._changing:
            self._closing.clear()
            self._is_open = False
            models, self._models = self._models, {}
            for model in models.values():
                for version in model.versions.values():
                    version.unload(drain_seconds)

    def _load_missing(self, model: ServedModel) -> list[ServedVersion]:
        """Load a model's versions. If it cannot be served without one that is being copied, wait for that one.

        Files without a manifest are known to be complete at the second look, so older versions are loaded from the
        third on, or when there is nothing to wait for.
        """
        latest = time.monotonic() + MAX_WAIT_SECONDS
        loaded: list[ServedVersion] = []
        for look in itertools.count():
            may_be_older = look > 1 or (look == 1 and not model.waiting)
            loaded += model.load_missing(self._intra_op_threads, may_be_older)
            if _is_served(model) or (look and not model.waiting) or time.monotonic() >= latest:
                break
            if model.waiting:
                logger.info("model %s: waits for the files of version %d", model.name, max(model.waiting))
                if self._closing.wait(WAIT_SECONDS):
                    break
        return loaded

    def _planned(self, config: ModelServerConfig) -> dict[str, ServedModel]:
        if config.WhichOneof("config") != "model_config_list":
            raise InputError("The configuration must be a model_config_list.")
        planned: dict[str, ServedModel] = {}
        for entry in config.model_config_list.config:
            if entry.name in planned:
                raise InputError(f"The configuration names model {entry.name} twice.")
            planned[entry.name] = ServedModel(entry, self._models.get(entry.name), self._on_state)
        return planned

    def _model(self, spec: model_pb2.ModelSpec) -> ServedModel | None:
        model = self._models.get(spec.name)
        if model is None and not self._is_open:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "The server is starting or stopping. Try again later.")
        return model

    def _find(self, spec: model_pb2.ModelSpec) -> ServedVersion:
        model = self._model(spec)
        if model is None:
            number = spec.version.value if spec.HasField("version") else None
        else:
            number = _selected_number(model, spec)
            available = {version.number: version for version in model.available()}
            if number in available or (available and number is None):
                return available[max(available) if number is None else number]
            if not available and not any(version.error for version in model.versions.values()):
                raise ServingError(grpc.StatusCode.UNAVAILABLE, f"Model {spec.name} is still being loaded.")
        selected = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
        raise _not_found(f"Servable not found for request: {selected}. Served here: {self._summary()}.")

    def _summary(self) -> str:
        models = []
        for name, model in self._models.items():
            numbers = [str(version.number) for version in model.available()]
            models.append(f"{name}, version{'s' if len(numbers) > 1 else ''} {' and '.join(numbers) or 'none'}")
        return "; ".join(models) or "none"


def _selected_number(model: ServedModel, spec: model_pb2.ModelSpec) -> int | None:
    if spec.version_label:
        if spec.version_label not in model.labels:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            )
        return model.labels[spec.version_label]
    return spec.version.value if spec.HasField("version") else None


def _is_served(model: ServedModel) -> bool:
    """Return whether `_check_served` finds all that it needs."""
    available = {version.number for version in model.available()}
    return bool(available) and available >= {*model.pinned(), *model.labels.values()}


def _check_served(model: ServedModel) -> None:
    available = {version.number for version in model.available()}
    for number in model.pinned():
        if number not in available:
            raise model.first_error(number)
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
