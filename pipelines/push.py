"""Push a candidate to the folder that is served."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.serving.blessing import METRIC, TOLERANCE
from laclrec_tf.serving.push import KEEP, Push, push_version
from pipelines.progress import spinner
from pipelines.verify import exported_version


def push(
    candidate: str | Path,
    to: str | Path,
    *,
    metric: str = METRIC,
    tolerance: float = TOLERANCE,
    force: bool = False,
    keep: int = KEEP,
    show_progress: bool = True,
) -> Push:
    """Validate and bless a candidate, make it the newest version of `to`, and remove the oldest ones there.

    Args:
        candidate: a version's folder, or a model's folder, of which the newest version is taken.
        to: the folder that is served, usually `saved_models/NAME`.
        metric: what to compare by. Default: "ndcg@10".
        tolerance: how much worse than the served version the candidate may be, as a share. Default: 0.02.
        force: serve it whatever the comparison says; the record tells so. Default: False.
        keep: how many versions stay. Default: 3.
        show_progress: Default: True.

    Returns:
        What was done.

    Raises:
        InputError: see `laclrec_tf.serving.push.push_version`.
    """
    folder = exported_version(Path(candidate))
    with spinner(f"pushing {folder}", disable=not show_progress):
        return push_version(folder, Path(to), metric=metric, tolerance=tolerance, force=force, keep=keep)


def told(done: Push) -> list[str]:
    """Say what a push did.

    Args:
        done: what `push` returned.

    Returns:
        Lines for people.
    """
    stood, blessing = done.validation, done.blessing
    lines = [
        f"validated: {stood.files} files, {stood.warmup_requests} warm-up requests, "
        f"{stood.held_out_histories} histories ({stood.source})"
    ]
    if blessing.verdict == "first":
        lines.append("blessed: the first version, with none to compare with")
    elif blessing.verdict == "passed":
        lines.append(f"blessed: {blessing.comparison}")
    else:
        lines.append(f"forced: {blessing.refusal or blessing.comparison}")
    lines += [f"removed version {number}" for number in done.removed]
    return [*lines, f"pushed {done.version}"]
