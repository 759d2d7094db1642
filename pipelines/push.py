"""Push a candidate to the folder that is served."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.blessing import METRIC, TOLERANCE
from laclrec_tf.serving.held_out_measurement import HeldOutItems
from laclrec_tf.serving.push import KEEP, Push, push_version
from pipelines.verify import exported_version


def push(
    candidate: str | Path,
    to: str | Path,
    *,
    metric: str = METRIC,
    tolerance: float = TOLERANCE,
    data: str | Path | None = None,
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
        data: what `laclrec-tf prepare` made, newest events in it: both versions are asked for each user's last item.
            Default: the numbers that both exports carry are compared, which must be of the same data.
        force: serve it whatever the comparison says; the record tells so. Default: False.
        keep: how many versions stay. Default: 3.
        show_progress: Default: True.

    Returns:
        What was done.

    Raises:
        InputError: see `laclrec_tf.serving.push.push_version`; or `data` holds no history of three events.
    """
    folder = exported_version(Path(candidate))
    with spinner(f"pushing {folder}", disable=not show_progress):
        asked = None if data is None else last_items(PreparedData.open(data))
        return push_version(
            folder, Path(to), metric=metric, tolerance=tolerance, held_out=asked, force=force, keep=keep
        )


def last_items(data: PreparedData) -> HeldOutItems:
    """Hold out every user's last item, the test split.

    Args:
        data: the prepared data.

    Returns:
        The histories before it, and the items.

    Raises:
        InputError: no history has the three events it takes.
    """
    pairs = [pair for history in data.histories()[1] if (pair := held_out(history, "test")) is not None]
    if not pairs:
        raise InputError(f"No history in {data.folder} has the three events that a held-out item takes.")
    return HeldOutItems(
        f"the last items of {data.folder.name} (hash {data.data_hash[:12]})",
        [data.vocabulary.to_items(before.tolist()) for before, _ in pairs],
        data.vocabulary.to_items([target for _, target in pairs]),
    )


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
