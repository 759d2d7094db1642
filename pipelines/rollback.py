"""Serve the version before the newest again."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.rollback import Rollback, roll_back


def rollback(model: str | Path, *, show_progress: bool = True) -> Rollback:
    """Publish the version before the served one again, under the next number.

    Args:
        model: the folder that is served, usually `saved_models/NAME`.
        show_progress: Default: True.

    Returns:
        What was done.

    Raises:
        InputError: see `laclrec_tf.serving.rollback.roll_back`.
    """
    with spinner(f"rolling back {model}", disable=not show_progress):
        return roll_back(Path(model))
