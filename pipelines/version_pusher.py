"""New versions of a model, pushed while it is served."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from laclrec_tf.serving.model_versions import newest_version, version_numbers

KEPT_VERSIONS = 3


def push_copy(model: Path) -> int:
    """Push a copy of the newest version under the next number, and take all but the newest three away.

    The copy is made in a hidden folder beside, then renamed: a server never sees half a version.

    Args:
        model: the model's folder.

    Returns:
        The new version's number.
    """
    number, newest = newest_version(model)
    partial = model / f".partial-{number + 1}"
    shutil.copytree(newest, partial)
    partial.rename(model / str(number + 1))
    for old in version_numbers(model)[:-KEPT_VERSIONS]:
        leaving = (model / str(old)).rename(model / f".old-{old}")
        shutil.rmtree(leaving)
    return number + 1


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
        self.every = every
        self.pushed: list[tuple[float, int]] = []
        self.error: OSError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._push, name="version-pusher", daemon=True)

    def __enter__(self) -> VersionPusher:
        """Begin; the first push is `every` seconds from now."""
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after the push that is under way."""
        self._stop.set()
        self._thread.join()

    def _push(self) -> None:
        while self.every is not None and not self._stop.wait(self.every):
            try:
                number = push_copy(self.model)
            except OSError as error:
                self.error = error
                return
            self.pushed.append((round(time.monotonic() - self._began, 2), number))
