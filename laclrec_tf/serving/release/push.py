"""Push a candidate to the folder that is served."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out_pairs
from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.output_files import copy_whole
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.release.blessing import (
    METRIC,
    TOLERANCE,
    Comparison,
    HeldOutItems,
    bless,
    bless_on,
    check_bar,
    k_of,
)
from laclrec_tf.serving.release.publication import (
    append_record,
    publish_copy,
    push_lock,
    read_record,
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
    version_numbers,
)
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, manifest_sha256, read_manifest, verify_manifest

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


# FOLDED: Serving the version before again.
# FOLDED:
# FOLDED: Servers take the version with the largest number. So the version before is published once more under the next number:
# FOLDED: they load it as they load any new version, without a gap in between, and what it replaces stays for a look at what was
# FOLDED: wrong with it. No version is changed or removed.
@dataclass(frozen=True)
class Rollback:
    """What a rollback did.

    Args:
        version: the new version's folder.
        of: the number of the version it is a copy of.
        instead_of: the number of the version that was served before.
    """

    version: Path
    of: int
    instead_of: int


def roll_back(model: Path) -> Rollback:
    """Publish the version before the served one again, under the next number.

    After a rollback the served version is a copy, and "before" means before what it is a copy of: rolling back again
    goes one further back. The record `.pushes.jsonl` tells which version is a copy of which.

    Args:
        model: the model's folder, usually `saved_models/NAME`.

    Returns:
        What was done.

    Raises:
        InputError: there is no version before, its files are not as they were exported, `model` cannot be written,
            or another process pushes to it. Nothing has changed.

    Example:
        >>> roll_back(Path("saved_models/shop"))  # doctest: +SKIP
        Rollback(version=PosixPath('saved_models/shop/4'), of=2, instead_of=3)
    """
    newest_version(model)
    with model_folder(model), push_lock(model):
        remove_leftovers(model)
        folders = version_folders(model)
        served = max(folders)
        original = _original(model, served, folders)
        earlier = [number for number in folders if number < original]
        if not earlier:
            copied = "" if original == served else f", a copy of {original}"
            raise InputError(f"{model} has no version before the served one, {served}{copied}. Push a version to it.")
        of = max(earlier)
        verify_manifest(folders[of])
        sha256 = manifest_sha256(folders[of])
        about = {"of": of, "instead_of": served, "manifest_sha256": sha256}
        version = publish_copy(
            folders[of], model, sha256, lambda number: append_record(model, "rollback", number, **about)
        )
    return Rollback(version, of, served)


def _original(model: Path, version: int, folders: dict[int, Path]) -> int:
    """Follow a version to the one it is a copy of, if rollbacks made it."""
    last = {entry["version"]: entry for entry in read_record(model) if entry["action"] in ("push", "rollback")}
    while last.get(version, {}).get("action") == "rollback" and _is_of(last[version], folders.get(version)):
        if not last[version]["of"] < version:
            break
        version = last[version]["of"]
    return version


def _is_of(entry: dict[str, Any], folder: Path | None) -> bool:
    """Whether a line is of the version that is there: another export may have taken its number."""
    if folder is None:
        return True
    return (folder / MANIFEST_FILE).is_file() and manifest_sha256(folder) == entry["manifest_sha256"]


def push_into_bucket(candidate: Path, model: Path, held_out: HeldOutItems, metric: str, tolerance: float) -> Path:
    """Validate and bless a candidate, and copy it to the next number of a model's folder, `saved_model.pb` last.

    A folder without that file is no version: whoever loads it fails and keeps what it has. TensorFlow Serving tries
    again every minute, five times. Killed half-way, a push leaves such a folder, whose number is not taken again.
    No older version is removed. Two pushes at once take two numbers, but neither is compared with the other.

    Args:
        candidate: a version's folder.
        model: the model's folder below the mounted bucket; made when missing.
        held_out: what both versions are asked for.
        metric: what to compare by.
        tolerance: how much worse than the newest whole version the candidate may be, as a share.

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
        bless_on(held_out, candidate, whole[max(whole)], metric=metric, tolerance=tolerance)
    return copy_whole(candidate, _next_number(model), last=SAVED_MODEL_FILE)


def whole_versions(model: Path) -> dict[int, Path]:
    """Find the versions that can be loaded, by number, smallest first.

    Args:
        model: the model's folder; it need not exist.
    """
    return {number: path for number, path in version_folders(model).items() if (path / SAVED_MODEL_FILE).is_file()}


def _next_number(model: Path) -> Path:
    number = max(version_numbers(model), default=0) + 1
    while True:
        try:
            (model / str(number)).mkdir(parents=True)
        except FileExistsError:  # another push was faster
            number += 1
        except OSError as error:
            raise InputError(
                f"Cannot write {model}: {reason_of(error)}. Check who may write into the bucket."
            ) from error
        else:
            return model / str(number)


def verify(model: str | Path, *, show_progress: bool = True) -> tuple[Path, int]:
    """Compare each file with the SHA-256 in the version's manifest.

    Args:
        model: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.
        show_progress: Default: True.

    Returns:
        The version's folder and the number of files in its manifest.

    Raises:
        InputError: there is no version or no manifest, or files are missing, changed or superfluous; the message
            names them.
    """
    folder = exported_version(Path(model))
    with spinner(f"verifying {folder}", disable=not show_progress):
        verify_manifest(folder)
    return folder, len(read_manifest(folder))


def exported_version(path: Path) -> Path:
    """Resolve a model's folder or one version's folder to a version's folder, also one that lost files.

    Args:
        path: `saved_models/NAME` or `saved_models/NAME/VERSION`.

    Raises:
        InputError: there is no version at either place.
    """
    return path if (path / MANIFEST_FILE).is_file() else version_folder(path)


def rollback(model: str | Path, *, show_progress: bool = True) -> Rollback:
    """Publish the version before the served one again, under the next number.

    Args:
        model: the folder that is served, usually `saved_models/NAME`.
        show_progress: Default: True.

    Returns:
        What was done.

    Raises:
        InputError: see `laclrec_tf.serving.release.push.roll_back`.
    """
    with spinner(f"rolling back {model}", disable=not show_progress):
        return roll_back(Path(model))


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
        InputError: see `laclrec_tf.serving.release.push.push_version`; or `data` holds no history of three events.
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
    pairs = held_out_pairs(data.histories()[1], "test")
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
