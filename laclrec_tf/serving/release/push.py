"""Push a candidate to the folder that is served: validate it, compare it with the served version, publish it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.output_files import copy_whole
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.release.blessing import METRIC, TOLERANCE, Comparison, HeldOutItems, bless, check_bar
from laclrec_tf.serving.release.publication import (
    append_record,
    publish_copy,
    push_lock,
    remove_leftovers,
    remove_old_versions,
)
from laclrec_tf.serving.release.validation import Validation, validate
from laclrec_tf.serving.version.folder import (
    SAVED_MODEL_FILE,
    check_model_folder,
    model_folder,
    newest_version,
    version_folder,
    version_folders,
    whole_versions,
)
from laclrec_tf.serving.version.manifest import manifest_sha256, read_manifest

KEEP = 3


@dataclass(frozen=True)
class Blessing:
    """Why a candidate may be served.

    Args:
        verdict: "passed", "first" (there was no version to compare with) or "forced".
        comparison: comparison with the version that was served; None if there was none.
        refusal: reason for which a forced candidate would have been refused; None if it would not.
    """

    verdict: str
    comparison: Comparison | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class Push:
    """Result of a push.

    Args:
        version: the new version's folder.
        validation: the checks that the candidate passed.
        blessing: why it may be served.
        removed: numbers of the old versions that were deleted.
    """

    version: Path
    validation: Validation
    blessing: Blessing
    removed: tuple[int, ...]

    def report(self) -> list[str]:
        """Describe the push in lines for people."""
        passed, blessing = self.validation, self.blessing
        verdicts = {
            "first": "blessed: the first version, with none to compare with",
            "passed": f"blessed: {blessing.comparison}",
            "forced": f"forced: {blessing.refusal or blessing.comparison}",
        }
        return [
            f"validated: {passed.files} files, {passed.warmup_requests} warm-up requests, "
            f"{passed.held_out_histories} histories ({passed.source})",
            verdicts[blessing.verdict],
            *(f"removed version {number}" for number in self.removed),
            f"pushed {self.version}",
        ]


def push(
    candidate: str | Path,
    to: str | Path,
    *,
    metric: str = METRIC,
    tolerance: float = TOLERANCE,
    data: str | Path | None = None,
    exclude_history: bool | None = None,
    force: bool = False,
    keep: int = KEEP,
    show_progress: bool = True,
) -> Push:
    """Serve a candidate if it is fit and good enough: copy it to the next version of a model's folder.

    The candidate is validated (see `validate`) and compared with the served version (see `bless`), copied into a hidden
    folder next to the versions, flushed to the disk and renamed to the next integer. Killed at any moment, a push
    leaves every version whole, the served one served, and no part of the new one visible; the next push deletes what
    was left. The record `.pushes.jsonl` has a line for each push, see `read_record`.

    Args:
        candidate: a version's folder, or a model's folder, of which the newest version is taken.
        to: the folder that is served, usually `saved_models/NAME`; created if it is missing.
        metric: metric of the comparison. Default: "ndcg@10".
        tolerance: max share by which the candidate may be worse than the served version. Default: 0.02.
        data: output of `laclrec-tf prepare` with the newest events: both versions are compared on each user's last
            item. Default: the metrics that both exports carry are compared, which must be of the same data.
        exclude_history: whether the versions are compared without the items of a history in their lists, see `bless`.
            Default: None, as the versions say.
        force: serve the candidate even if the comparison fails, and record it; it must still be valid. Default: False.
        keep: number of versions to keep, including the new one. Default: 3.
        show_progress: whether to show a spinner. Default: True.

    Returns:
        What was done.

    Raises:
        InputError: the candidate is not fit or not good enough, `to` cannot be written, another process pushes to it,
            `data` cannot be read, or an argument is out of range. Nothing has changed, unless the message says that the
            version is pushed, but old versions could not be removed.

    Example:
        >>> push("runs/shop/1", "saved_models/shop").version  # doctest: +SKIP
        PosixPath('saved_models/shop/4')
    """
    model = Path(to)
    if keep < 1:
        raise InputError(f"Argument `keep` must be at least 1: the newest version is served. Received: {keep}.")
    check_bar(metric, tolerance, measured_here=data is not None)
    check_model_folder(model)
    folder = version_folder(Path(candidate))
    read_manifest(folder)
    with spinner(f"pushing {folder}", disable=not show_progress):
        held_out = None if data is None else HeldOutItems.test_of(data)
        sha256 = manifest_sha256(folder)
        validation = validate(folder)
        with model_folder(model), push_lock(model):
            remove_leftovers(model)
            blessing = _blessing(folder, model, metric, tolerance, held_out, exclude_history, force)
            about: dict[str, Any] = {
                "candidate": str(folder),
                "manifest_sha256": sha256,
                "validation": asdict(validation),
                "blessing": asdict(blessing),
            }
            version = publish_copy(folder, model, sha256, lambda number: append_record(model, "push", number, **about))
            try:
                removed = remove_old_versions(model, keep, lambda number: append_record(model, "remove", number))
            except OSError as error:
                raise InputError(
                    f"{version} is pushed, but old versions could not be removed: {reason_of(error)}. "
                    "Remove them by hand."
                ) from error
    return Push(version, validation, blessing, removed)


def _blessing(
    candidate: Path,
    model: Path,
    metric: str,
    tolerance: float,
    held_out: HeldOutItems | None,
    exclude_history: bool | None,
    force: bool,
) -> Blessing:
    if not version_folders(model):
        return Blessing("first")
    try:
        served = newest_version(model)[1]
        comparison = bless(
            candidate, served, metric=metric, tolerance=tolerance, held_out=held_out, exclude_history=exclude_history
        )
    except InputError as error:
        if not force:
            raise
        return Blessing("forced", refusal=str(error))
    return Blessing("forced" if force else "passed", comparison)


def push_into_bucket(candidate: Path, model: Path, held_out: HeldOutItems, metric: str, tolerance: float) -> Path:
    """Validate a candidate, compare it, and copy it to the next number of a model's folder, `saved_model.pb` last.

    Use it for mounted buckets, where a folder cannot be renamed. A folder without `saved_model.pb` is no version: a
    reader that loads it fails and keeps the version that it has. TensorFlow Serving tries again every minute, five
    times. A killed push leaves such a folder, whose number is not used again. No older version is deleted. Two pushes
    at the same time take two numbers, but are not compared with each other.

    Args:
        candidate: a version's folder.
        model: the model's folder in the mounted bucket; created if it is missing.
        held_out: held-out items that both versions are compared on.
        metric: metric of the comparison.
        tolerance: max share by which the candidate may be worse than the newest whole version.

    Returns:
        The new version's folder.

    Raises:
        InputError: the candidate is not fit or not good enough, or the bucket cannot be written.

    Example:
        >>> push_into_bucket(Path("candidate"), Path("/gcs/shop/model"), items, "ndcg@10", 0.02)  # doctest: +SKIP
        PosixPath('/gcs/shop/model/4')
    """
    validate(candidate)
    whole = whole_versions(model)
    if whole:
        bless(candidate, whole[max(whole)], metric=metric, tolerance=tolerance, held_out=held_out)
    number = max(version_folders(model), default=0) + 1
    while True:
        try:
            (model / str(number)).mkdir(parents=True)
        except FileExistsError:  # another push was faster
            number += 1
        except OSError as error:
            raise InputError(f"Cannot write {model}: {reason_of(error)}. Check write permissions.") from error
        else:
            return copy_whole(candidate, model / str(number), last=SAVED_MODEL_FILE)
