"""From a candidate to the version that is served: validate, bless, publish, and keep the last ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.serving.blessing import METRIC, TOLERANCE, Comparison, bless, bless_on, check_bar
from laclrec_tf.serving.held_out_measurement import HeldOutItems, k_of
from laclrec_tf.serving.publication import publish_copy, remove_leftovers, remove_old_versions
from laclrec_tf.serving.push_lock import push_lock
from laclrec_tf.serving.push_record import append_record
from laclrec_tf.serving.validation import Validation, validate
from laclrec_tf.serving.version.folder import check_model_folder, model_folder, newest_version, version_folders
from laclrec_tf.serving.version.manifest import manifest_sha256, read_manifest

KEEP = 3


@dataclass(frozen=True)
class Blessing:
    """Why a candidate may be served.

    Args:
        verdict: "passed", "first" (there was no version to compare with) or "forced".
        comparison: with the version that was served; None unless passed.
        refusal: of a forced one, why it would have been refused; None if it would not.
    """

    verdict: str
    comparison: Comparison | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class Push:
    """What a push did.

    Args:
        version: the new version's folder.
        validation: what the candidate stood.
        blessing: why it may be served.
        removed: the numbers of the old versions that went.
    """

    version: Path
    validation: Validation
    blessing: Blessing
    removed: tuple[int, ...]


def push_version(
    candidate: Path,
    model: Path,
    *,
    metric: str = METRIC,
    tolerance: float = TOLERANCE,
    held_out: HeldOutItems | None = None,
    force: bool = False,
    keep: int = KEEP,
) -> Push:
    """Serve a candidate: copy it to the next version of a model's folder, if it is fit and good enough.

    It is validated (see `validate`) and blessed (see `bless`), copied into a hidden folder beside the versions, written
    through to the disk and renamed to the next integer. Killed at any moment, this leaves every version whole, the
    served one served, and no part of the new one visible; the next push removes what was left. The record
    `.pushes.jsonl` tells of each push, see `push_record`.

    Args:
        candidate: a version's folder, as `export_model` wrote it.
        model: the model's folder, usually `saved_models/NAME`. It is made when missing.
        metric: what to compare by. Default: "ndcg@10".
        tolerance: how much worse than the served version the candidate may be, as a share. Default: 0.02.
        held_out: ask both versions for these held-out items and compare what comes of it, see `bless_on`. Default:
            compare the numbers that their exports carry, see `bless`.
        force: serve it whatever the comparison says; the record tells so. Validated it must be. Default: False.
        keep: how many versions stay, the new one among them. Default: 3.

    Returns:
        What was done.

    Raises:
        InputError: the candidate is not fit or not good enough, `model` cannot be written, another process pushes to
            it, or an argument is out of range. Nothing has changed, unless the message says so: that old versions
            could not be removed is found after the push.

    Example:
        >>> push_version(Path("runs/shop/1"), Path("saved_models/shop")).version  # doctest: +SKIP
        PosixPath('saved_models/shop/4')
    """
    if keep < 1:
        raise InputError(f"Argument `keep` must be at least 1: the newest version is served. Received: {keep}.")
    check_bar(metric, tolerance)
    if held_out is not None:
        k_of(metric)
    check_model_folder(model)
    read_manifest(candidate)
    sha256 = manifest_sha256(candidate)
    validation = validate(candidate)
    with model_folder(model), push_lock(model):
        remove_leftovers(model)
        blessing = _blessing(candidate, model, metric, tolerance, held_out, force)
        about: dict[str, Any] = {
            "candidate": str(candidate),
            "manifest_sha256": sha256,
            "validation": asdict(validation),
            "blessing": asdict(blessing),
        }
        version = publish_copy(candidate, model, sha256, lambda number: append_record(model, "push", number, **about))
        try:
            removed = remove_old_versions(model, keep, lambda number: append_record(model, "remove", number))
        except OSError as error:
            raise InputError(
                f"{version} is pushed, but old versions could not be removed: {reason_of(error)}. Remove them by hand."
            ) from error
    return Push(version, validation, blessing, removed)


def _blessing(
    candidate: Path, model: Path, metric: str, tolerance: float, held_out: HeldOutItems | None, force: bool
) -> Blessing:
    if not version_folders(model):
        return Blessing("first")
    try:
        serving = newest_version(model)[1]
        if held_out is None:
            comparison = bless(candidate, serving, metric=metric, tolerance=tolerance)
        else:
            comparison = bless_on(held_out, candidate, serving, metric=metric, tolerance=tolerance)
    except InputError as error:
        if not force:
            raise
        return Blessing("forced", refusal=str(error))
    return Blessing("forced" if force else "passed", comparison)
