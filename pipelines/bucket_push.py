"""Push a candidate into a mounted bucket, where no folder can be renamed and no file locked."""

from __future__ import annotations

from pathlib import Path

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.output_files import copy_whole
from laclrec_tf.serving.blessing import bless_on
from laclrec_tf.serving.held_out_measurement import HeldOutItems
from laclrec_tf.serving.validation import validate
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE, version_folders, version_numbers


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
