"""A served model and the life of its versions, from START to END."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config.file_system_storage_path_source_pb2 import FileSystemStoragePathSourceConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.server.memory import LoaderThread, LoaderThreads, return_free_memory
from laclrec_tf.serving.server.merging import Merging, probe_merging, rows_of
from laclrec_tf.serving.server.prediction import read_request, response_of
from laclrec_tf.serving.version.folder import MANIFEST_FILE, version_folders
from laclrec_tf.serving.version.manifest import has_all_files, manifest_sha256, verify_manifest
from laclrec_tf.serving.version.warmup import read_warmup_requests

logger = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus.State
START, LOADING, AVAILABLE, UNLOADING, END = (
    State.Value(name) for name in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
)
VersionPolicy: TypeAlias = FileSystemStoragePathSourceConfig.ServableVersionPolicy
_NEVER = object()
_loaders = LoaderThreads()
MAX_ENDED = 100  # ended versions whose states are kept
SETTLED_SECONDS = 10.0  # files that have not changed for so long are complete, or never will be


class ServedVersion:
    """One version of a model, which is loaded, answers, and is unloaded.

    Requests hold it while they run (`acquire`, `release`); `unload` waits for them.

    Args:
        model_name: name of the model.
        number: number of the version.
        folder: folder of the version.
        on_state: called with name, number and the state's name when the state changes. Default: nothing.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING or END, with the numbers of TensorFlow Serving.
        error: why the version could not be loaded; None without an error.
        model: the loaded model; None before it is loaded and after it is unloaded.
        merging: which requests may be merged, by signature; see `probe_merging`.
        content: the files at the time of the load, see `_content`; None before it.
        manifest: SHA-256 of the manifest that the files were checked against; None for a version without one.
    """

    def __init__(
        self,
        model_name: str,
        number: int,
        folder: Path,
        on_state: Callable[[str, int, str], None] | None = None,
    ) -> None:
        self.model_name, self.number, self.folder = model_name, number, folder
        self.state = START
        self.error: ServingError | None = None
        self.model: LoadedModel | None = None
        self.merging: dict[str, Merging] = {}
        self.content: object = None
        self.manifest: str | None = None
        self._on_state = on_state
        self._loader: LoaderThread | None = None
        self._held = 0
        self._changed = threading.Condition()
        self._set_state(START)

    def load(self, intra_op_threads: int = 0) -> bool:
        """Check the files against the manifest, read them, answer the warm-up requests, and become AVAILABLE.

        A version without a manifest, which another program exported, is not checked.

        Args:
            intra_op_threads: see `LoadedModel`. Default: 0, all processors.

        Returns:
            False when that fails: then the state is END, and `error` has the reason.
        """
        self._loader = _loaders.take()
        return self._loader.run(lambda: self._load(intra_op_threads))

    def _load(self, intra_op_threads: int) -> bool:
        self._set_state(LOADING)
        try:
            self.content = _content(self.folder)
            if (self.folder / MANIFEST_FILE).is_file():
                self.manifest = manifest_sha256(self.folder)
                verify_manifest(self.folder, more_allowed=True)
            self.model = LoadedModel(self.folder, intra_op_threads)
            self.model.prepare()
            self._warm_up(self.model)
        except Exception as error:  # no folder may end the server
            is_expected = isinstance(error, InputError)
            message = str(error) if is_expected else f"Cannot load {self.folder}: {type(error).__name__}: {error}"
            code = grpc.StatusCode.FAILED_PRECONDITION if is_expected else grpc.StatusCode.UNKNOWN
            self.error = ServingError(code, " ".join(message.split()))
            self._forget_model()
            self._set_state(END)
            return False
        self._set_state(AVAILABLE)
        return True

    def has_changed(self) -> bool:
        """Return whether the loaded files have changed on the disk, or others have come that a load reads.

        Files that the manifest does not list do not matter, and neither do times of files that hold the same.

        Raises:
            InputError: they have changed, but do not match their manifest.
        """
        content = _content(self.folder)
        if content == self.content:
            return False
        if self.manifest is None or manifest_sha256(self.folder) != self.manifest:
            return True
        verify_manifest(self.folder, more_allowed=True)
        self.content = content
        return False

    def take_over(self, before: ServedVersion) -> None:
        """Report the states of this version from now on, and no more those of `before`, which it replaces."""
        self._on_state, before._on_state = before._on_state, None

    def acquire(self) -> bool:
        """Hold the version for a request. Returns False when it is not AVAILABLE."""
        with self._changed:
            if self.state != AVAILABLE:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        """End the hold of a request."""
        with self._changed:
            self._held -= 1
            self._changed.notify_all()

    def unload(self, drain_seconds: float | None = None) -> None:
        """Refuse new requests, wait for the running ones, and free the memory.

        Args:
            drain_seconds: max seconds to wait for them. Default: no limit.
        """
        with self._changed:
            if self.state != AVAILABLE:
                return
            self._set_state(UNLOADING)
            self._changed.wait_for(lambda: not self._held, drain_seconds)
        self._forget_model()
        self._set_state(END)

    def status(self) -> get_model_status_pb2.ModelVersionStatus:
        """Return the state as `GetModelStatus` reports it."""
        status = get_model_status_pb2.ModelVersionStatus(version=self.number, state=self.state)
        if self.error is not None:
            status.status.error_code = self.error.code.value[0]
            status.status.error_message = self.error.message
        else:
            status.status.error_code = 0
        return status

    def _warm_up(self, model: LoadedModel) -> None:
        try:
            for request in read_warmup_requests(self.folder):
                prediction = read_request(model, request)
                run = partial(model.run_complete, prediction.signature)
                response_of(prediction, run(prediction.inputs))
                if prediction.signature not in self.merging and (rows_of(prediction.inputs) or 0) > 1:
                    self.merging[prediction.signature] = probe_merging(run, prediction.inputs)
        except ServingError as error:
            raise InputError(
                f"{self.folder} fails its own warm-up requests: {error.message}. Export the model again."
            ) from error

    def _forget_model(self) -> None:
        if self.model is not None:
            self.model.close()
            self.model = None
            gc.collect()  # TensorFlow's graphs are reference cycles, with memory that Python does not count
            return_free_memory()
        if self._loader is not None:
            _loaders.give_back(self._loader)
            self._loader = None

    def _set_state(self, state: int) -> None:
        self.state = state
        name = State.Name(state)
        if self.error is not None:
            logger.error("model %s, version %d: %s: %s", self.model_name, self.number, name, self.error.message)
        else:
            logger.info("model %s, version %d: %s", self.model_name, self.number, name)
        if self._on_state:
            self._on_state(self.model_name, self.number, name)


def wanted_versions(policy: VersionPolicy, existing: Iterable[int]) -> set[int]:
    """Select versions as TensorFlow Serving does.

    Args:
        policy: `latest {num_versions: n}`, `all {}` or `specific {versions: ...}`. Default: the newest.
        existing: the versions in the model's folder.

    Returns:
        The versions to serve.

    Example:
        >>> sorted(wanted_versions(VersionPolicy(latest={"num_versions": 2}), [1, 2, 3]))
        [2, 3]
        >>> sorted(wanted_versions(VersionPolicy(specific={"versions": [1, 9]}), [1, 2, 3]))
        [1]
    """
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return set(existing)
    if kind == "specific":
        return set(existing) & set(policy.specific.versions)
    return set(sorted(existing)[-(policy.latest.num_versions or 1) :])


class ServedModel:
    """A model of the server: its versions, loaded and unloaded as its configuration and its folder require.

    Args:
        config: name, base path, version policy and version labels.
        before: the same model under its previous configuration. Its versions are kept when the base path is the same.
            Default: none.
        on_state: see `ServedVersion`. Default: nothing.

    Attributes:
        versions: the versions by number; ended ones are kept for their state.
        waiting: folders, by number, of wanted versions whose files were incomplete or changing at the last look.

    Raises:
        InputError: the configuration is wrong.
    """

    def __init__(
        self,
        config: ModelConfig,
        before: ServedModel | None = None,
        on_state: Callable[[str, int, str], None] | None = None,
    ) -> None:
        _check(config)
        self.config = config
        self.name = config.name
        self.base_path = Path(config.base_path).absolute()
        self.labels: dict[str, int] = dict(config.version_labels)
        self._on_state = on_state
        if before is not None and before.base_path != self.base_path:
            before = None
        self.versions: dict[int, ServedVersion] = {} if before is None else dict(before.versions)
        # The content of folders that could not be loaded: they are tried again when it changes.
        self._failed: dict[int, object] = {} if before is None else dict(before._failed)
        self.waiting: dict[int, Path] = {}
        self._seen: dict[int, object] = {}  # the content of folders at the last look

    def __repr__(self) -> str:
        states = ", ".join(f"{number} {version.state}" for number, version in sorted(self.versions.items()))
        return f"ServedModel({self.name!r} in {str(self.base_path)!r}: {states or 'no version'})"

    def available(self) -> list[ServedVersion]:
        """Return the AVAILABLE versions, oldest first."""
        return [version for _, version in sorted(self.versions.items()) if version.state == AVAILABLE]

    def load_missing(self, intra_op_threads: int, may_be_older: bool = True) -> list[ServedVersion]:
        """Load the wanted versions that are missing, newest first.

        A copy may be in progress. A version is loaded when it holds the files of its manifest, or when its files are
        as they were at the last look.

        Args:
            intra_op_threads: see `LoadedModel`.
            may_be_older: with the policy `latest`, load an older version in place of one that fails or is incomplete,
                unless one is AVAILABLE: a server that restarts must not be without a model because of the last export.
                Default: True.

        Returns:
            The versions that were tried; some may have failed.
        """
        folders = version_folders(self.base_path)
        tried = []
        self.waiting = {}
        self._seen = {number: content for number, content in self._seen.items() if number in folders}
        wanted = self._wanted(folders)
        may_be_older &= self.config.model_version_policy.WhichOneof("policy_choice") in (None, "latest")
        for number in sorted(wanted, reverse=True) + sorted(set(folders) - wanted, reverse=True):
            if number not in wanted and (not may_be_older or len(self.available()) >= len(wanted)):
                break
            present = self.versions.get(number)
            content = _content(folders[number])
            if (present is not None and present.state != END) or self._failed.get(number, _NEVER) == content:
                continue
            if not self._is_complete(number, folders[number], content):
                if number in wanted:
                    self.waiting[number] = folders[number]
                continue
            version = ServedVersion(self.name, number, folders[number], self._on_state)
            self.versions = {**self.versions, number: version}  # replaced as a whole, and so read without a lock
            if version.load(intra_op_threads):
                self._failed.pop(number, None)
            else:
                self._failed[number] = content
            tried.append(version)
        return tried

    def load_changed(self, intra_op_threads: int) -> None:
        """Load the AVAILABLE versions again whose files have changed; each answers until its new load is AVAILABLE.

        So a version that was loaded before all of its files were there, e.g. its warm-up requests, becomes whole. If
        the changed files do not load, the version that is in memory stays.

        Args:
            intra_op_threads: see `LoadedModel`.
        """
        for version in self.available():
            content = _content(version.folder)
            # Without content the folder is gone, and the version answers until the policy replaces it.
            if not content or content in (version.content, self._failed.get(version.number, _NEVER)):
                continue
            if not self._is_complete(version.number, version.folder, content):
                continue
            new = ServedVersion(self.name, version.number, version.folder)
            reason: Exception | None
            try:
                reason = None if not version.has_changed() or new.load(intra_op_threads) else new.error
            except (InputError, OSError) as error:
                reason = error
            if reason is not None:
                self._failed[version.number] = content
                logger.error("model %s, version %d stays as it was loaded: %s", self.name, version.number, reason)
            elif new.state == AVAILABLE:
                self._failed.pop(version.number, None)
                new.take_over(version)
                self.versions = {**self.versions, version.number: new}
                version.unload()

    def _is_complete(self, number: int, folder: Path, content: object) -> bool:
        before, self._seen[number] = self._seen.get(number, _NEVER), content
        return has_all_files(folder) or content == before or _is_settled(folder)

    def surplus(self) -> list[ServedVersion]:
        """Return the AVAILABLE versions that are not wanted, oldest first.

        For each wanted version that failed, an unwanted one is kept. When the folder holds no version at all, all
        versions are kept: the file system may be unmounted.
        """
        wanted = self._wanted(version_folders(self.base_path))
        available = self.available()
        missing = len(wanted - {version.number for version in available})
        unwanted = [version for version in available if version.number not in wanted]
        if not wanted:
            return []
        return unwanted[: max(0, len(unwanted) - missing)]

    def forget_ended(self) -> None:
        """Drop the states of ended versions, all but the last hundred."""
        ended = sorted(number for number, version in self.versions.items() if version.state == END)
        dropped = set(ended[:-MAX_ENDED])
        if dropped:
            self.versions = {number: v for number, v in self.versions.items() if number not in dropped}

    def pinned(self) -> list[int]:
        """Return the versions that the policy `specific` names."""
        return sorted(set(self.config.model_version_policy.specific.versions))

    def first_error(self, pinned: int | None = None) -> InputError:
        """Return the reason why a pinned version, or else any version, is not AVAILABLE."""
        for number, version in sorted(self.versions.items(), reverse=True):
            if version.error is not None and pinned in (None, number):
                return InputError(version.error.message)
        copied = self.waiting.get(max(self.waiting, default=0) if pinned is None else pinned)
        if copied is not None:
            return InputError(
                f"{copied} is incomplete, and its files keep changing. Wait until they are copied, then start again."
            )
        if pinned is not None:
            found = ", ".join(map(str, sorted(version_folders(self.base_path)))) or "none"
            return InputError(
                f"{self.base_path} holds no version {pinned}, which the version policy `specific` of model {self.name} "
                f"names. Versions there: {found}."
            )
        return InputError(
            f"{self.base_path} holds no version that model {self.name} can serve. "
            "Make one with `laclrec-tf export RUN --to saved_models/NAME`."
        )

    def _wanted(self, folders: dict[int, Path]) -> set[int]:
        # A version with a label is served as long as it has the label.
        labelled = set(self.labels.values()) & set(folders)
        return wanted_versions(self.config.model_version_policy, folders) | labelled


def _check(config: ModelConfig) -> None:
    if not config.name:
        raise InputError("A model in the configuration has no name.")
    if not config.base_path:
        raise InputError(f"Model {config.name} has no base_path in the configuration.")
    if config.model_platform not in ("", "tensorflow"):
        raise InputError(
            f"Model {config.name}: model_platform must be tensorflow. Received: {config.model_platform!r}."
        )
    policy = config.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific" and not policy.specific.versions:
        raise InputError(f"Model {config.name}: the version policy `specific` must name at least one version.")


def _content(folder: Path) -> object:
    """List the files of a version's folder with sizes and times; it changes while a copy is in progress."""
    try:
        files = [(str(path), path.stat()) for path in folder.rglob("*")]
    except OSError:  # the folder is being deleted
        return None
    return sorted((path, status.st_size, status.st_mtime_ns) for path, status in files)


def _is_settled(folder: Path) -> bool:
    """Return whether no file has been changed, replaced or added for a while, by this machine's clock."""
    try:
        return max(path.stat().st_ctime for path in folder.rglob("*")) < time.time() - SETTLED_SECONDS
    except (OSError, ValueError):
        return False
