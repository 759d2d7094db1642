"""One model under its name: which versions it should have, and which it has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.served_version import AVAILABLE, END, ServedVersion
from laclrec_tf.serving.version.folder import version_folders
from laclrec_tf.serving.version_policy import check_policy, wanted_versions

logger = logging.getLogger(__name__)
_NEVER = object()
MAX_ENDED = 100  # versions that are gone, whose states are still told


class ServedModel:
    """The versions of a model.

    Args:
        config: name, base path, version policy and version labels.
        before: the same model under its configuration until now, whose versions are taken over when the base path
            is the same. Default: none.
        on_state: see `ServedVersion`. Default: nothing.

    Attributes:
        versions: by number; those that have ended are kept for their state.

    Raises:
        InputError: the configuration asks for something that cannot be.
    """

    def __init__(
        self,
        config: ModelConfig,
        before: ServedModel | None = None,
        on_state: Callable[[str, int, str], None] | None = None,
    ) -> None:
        """Check the configuration; nothing is loaded yet."""
        _check(config)
        self.config = config
        self.name = config.name
        self.base_path = Path(config.base_path).absolute()
        self.labels: dict[str, int] = dict(config.version_labels)
        self._on_state = on_state
        takes_over = before is not None and before.base_path == self.base_path
        self.versions: dict[int, ServedVersion] = dict(before.versions) if before is not None and takes_over else {}
        # What a folder that could not be loaded looked like: it is tried again when it looks different.
        self._failed: dict[int, object] = dict(before._failed) if before is not None and takes_over else {}

    def __repr__(self) -> str:
        states = ", ".join(f"{number} {version.state}" for number, version in sorted(self.versions.items()))
        return f"ServedModel({self.name!r} in {str(self.base_path)!r}: {states or 'no version'})"

    def available(self) -> list[ServedVersion]:
        """Return the versions that answer, oldest first."""
        return [version for _, version in sorted(self.versions.items()) if version.state == AVAILABLE]

    def load_missing(self, intra_op_threads: int) -> list[ServedVersion]:
        """Load what should be there and is not, newest first.

        Args:
            intra_op_threads: see `LoadedModel`.

        Returns:
            The versions tried; some may have failed.
        """
        folders = version_folders(self.base_path)
        tried = []
        for number in sorted(self._wanted(folders), reverse=True):
            present = self.versions.get(number)
            look = _look(folders[number])
            if (present is not None and present.state != END) or self._failed.get(number, _NEVER) == look:
                continue
            version = ServedVersion(self.name, number, folders[number], self._on_state)
            self.versions = {**self.versions, number: version}  # others read it without a lock
            if version.load(intra_op_threads):
                self._failed.pop(number, None)
            else:
                self._failed[number] = look
            tried.append(version)
        return tried

    def surplus(self) -> list[ServedVersion]:
        """Return the versions that answer and should not, oldest first.

        For each version that should be there and failed, one that answers stays. When the folder holds no version
        at all, everything stays: a file system that is away is no reason to stop.
        """
        wanted = self._wanted(version_folders(self.base_path))
        answering = self.available()
        missing = len(wanted - {version.number for version in answering})
        unwanted = [version for version in answering if version.number not in wanted]
        if not wanted:
            return []
        return unwanted[: max(0, len(unwanted) - missing)]

    def forget_ended(self) -> None:
        """Drop the oldest versions that ended, beyond the last hundred."""
        ended = sorted(number for number, version in self.versions.items() if version.state == END)
        dropped = set(ended[:-MAX_ENDED])
        if dropped:
            self.versions = {number: v for number, v in self.versions.items() if number not in dropped}

    def first_error(self) -> InputError:
        """Say why no version answers."""
        for _, version in sorted(self.versions.items(), reverse=True):
            if version.error is not None:
                return InputError(version.error.message)
        return InputError(
            f"{self.base_path} holds no version that model {self.name} is to serve. "
            "Make one with `laclrec-tf export RUN --to saved_models/NAME`."
        )

    def _wanted(self, folders: dict[int, Path]) -> set[int]:
        # A version with a label is served for as long as it has the label.
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
    check_policy(config.name, config.model_version_policy)


def _look(folder: Path) -> object:
    """Say what lies in a version's folder; a copy that is not finished looks different every time."""
    try:
        files = [(str(path), path.stat()) for path in folder.rglob("*")]
    except OSError:  # it is going away
        return None
    return sorted((path, status.st_size, status.st_mtime_ns) for path, status in files)
