"""Buckets of histories by length: a batch is of one bucket, and has about as many targets whatever the bucket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laclrec_tf.data.splits import Window, all_windows

# Max lengths of the buckets. Most histories are short, so the first buckets are narrow. Beyond 32 each is at most a
# quarter longer than the one before it, so that little of a batch is padding, and few shapes are needed.
SHORT_BUCKETS = (4, 6, 8, 12, 16, 24, 32)
BUCKETS = (*SHORT_BUCKETS, *(2**octave * quarters for octave in range(3, 14) for quarters in (5, 6, 7, 8)))
BOUNDARIES = [end + 2 for end in BUCKETS]  # exclusive; the last item of a history is a target only


def count_batches(
    histories: Sequence[np.ndarray],
    targets_per_batch: int = 512,
    max_length: int | None = None,
    window: Window = "last",
) -> int:
    """Return the number of batches in an epoch of `training_dataset`.

    Args:
        histories: per user `[n]` int32 ids.
        targets_per_batch: see `training_dataset`. Default: 512.
        max_length: see `training_dataset`. Default: None.
        window: see `training_dataset`. Default: "last".

    Example:
        >>> count_batches([np.array([5, 6]), np.array([7])])
        1
    """
    sizes = np.array(batch_sizes(targets_per_batch, max_length))
    parts = all_windows(histories, max_length, window)
    usable = np.array([len(part) for part in parts if len(part) >= 2])
    per_bucket = np.bincount(np.searchsorted(BOUNDARIES, usable, side="right"), minlength=len(sizes))
    return int(np.sum(-(-per_bucket // sizes)))


def batch_sizes(targets_per_batch: int, max_length: int | None = None) -> list[int]:
    """Return the number of histories in a batch of each bucket, shortest histories first.

    A batch has about `targets_per_batch` targets if its histories are of the bucket's middle length. A batch of
    histories of more than 32 items exceeds that by less than one history.

    Args:
        targets_per_batch: approximate number of next-item targets in a batch.
        max_length: max length of a history, which ends its bucket if it is above 32. Default: None.

    Example:
        >>> batch_sizes(512)[:8], batch_sizes(512, max_length=200)[17]
        ([205, 93, 68, 49, 35, 25, 18, 13], 3)
    """
    sizes = []
    for shortest, end in zip((1, *(end + 1 for end in BUCKETS)), (*BUCKETS, 2 * BUCKETS[-1]), strict=True):
        longest = end if max_length is None or end <= SHORT_BUCKETS[-1] else max(shortest, min(end, max_length))
        size = max(1, round(2 * targets_per_batch / (shortest + longest)))
        sizes.append(size if end <= SHORT_BUCKETS[-1] else min(size, -(-targets_per_batch // longest)))
    return sizes
