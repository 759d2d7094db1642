"""New versions of a model, pushed while it is served."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from laclrec_tf.runtime.processes import Repetition
from laclrec_tf.serving.release.publication import COMING, remove_old_versions, rename_to_next_version
from laclrec_tf.serving.version.folder import newest_version

KEPT_VERSIONS = 3


def push_copy(model: Path) -> int:
    """Put a copy of the newest version under the next number, and take all but the newest three away.

    Unlike a push it takes models without a manifest, and waits for no disk; a server never sees half a version.

    Args:
        model: the model's folder.

    Returns:
        The new version's number.
    """
    _, newest = newest_version(model)
    copy = model / f"{COMING}{uuid.uuid4().hex}"
    shutil.copytree(newest, copy)
    new = rename_to_next_version(copy, model)
    remove_old_versions(model, KEPT_VERSIONS)
    return int(new.name)


class VersionPusher:
    """Pushes a copy of the newest version every so often, until it is told to stop.

    Args:
        model: the model's folder, not the user's own: versions come and go in it.
        every: seconds between two pushes; None pushes nothing.

    Attributes:
        pushed: `(seconds since the start, version)` of each push.
        error: what ended the pushing early, such as a full disk; None when nothing did.
    """

    def __init__(self, model: Path, every: float | None) -> None:
        self.model = model
        self.pushed: list[tuple[float, int]] = []
        self.error: OSError | None = None
        self._repetition = Repetition(self._push, every, name="version-pusher")

    def __enter__(self) -> VersionPusher:
        """Begin; the first push is `every` seconds from now."""
        self._repetition.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after the push that is under way."""
        self._repetition.__exit__()

    def _push(self) -> bool:
        try:
            number = push_copy(self.model)
        except OSError as error:
            self.error = error
            return False
        self.pushed.append((self._repetition.elapsed(), number))
        return True
