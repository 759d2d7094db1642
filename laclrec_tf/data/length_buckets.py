"""Length buckets: histories of like length share a batch, with about equally many targets whatever the bucket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Upper ends of the length buckets. Most shoppers' histories are short, so the first buckets are narrow.
BUCKETS = (4, 6, 8, 12, 16, 24, 32)
BOUNDARIES = [end + 2 for end in BUCKETS]  # exclusive, and the last item of a history is a target only
TYPICAL_LENGTHS = [
    *((start + 1 + end) / 2 for start, end in zip((0, *BUCKETS), BUCKETS, strict=False)),
    BUCKETS[-1] * 1.25,  # a guess: the last bucket has no end
]


def batch_sizes(targets_per_batch: int) -> list[int]:
    """Return how many histories a batch of each bucket holds, that of the longest last.

    Args:
        targets_per_batch: next-item targets a batch, about.

    Example:
        >>> batch_sizes(512)[0], batch_sizes(512)[-1]
        (205, 13)
    """
    return [max(1, round(targets_per_batch / length)) for length in TYPICAL_LENGTHS]


def count_batches(histories: Sequence[np.ndarray], targets_per_batch: int = 512) -> int:
    """Return how many batches an epoch of `training_dataset` has.

    Args:
        histories: `[n]` int32 histories.
        targets_per_batch: as there. Default: 512.

    Example:
        >>> count_batches([np.array([5, 6]), np.array([7])])
        1
    """
    sizes = np.array(batch_sizes(targets_per_batch))
    usable = np.array([len(history) for history in histories if len(history) >= 2])
    per_bucket = np.bincount(np.searchsorted(BOUNDARIES, usable, side="right"), minlength=len(sizes))
    return int(np.sum(-(-per_bucket // sizes)))


def bucket_end(rows: tf.Tensor, boundaries: Sequence[int]) -> tf.Tensor:
    """Return the longest length of the bucket that histories with these bounds are in.

    Args:
        rows: `[B, 2]` int64, where each history begins and ends.
        boundaries: the buckets' exclusive upper ends.

    Returns:
        Scalar int64.
    """
    ends = tf.constant(boundaries, tf.int64) - 1
    longest = tf.reduce_max(rows[:, 1] - rows[:, 0])
    return ends[tf.searchsorted(ends, longest[tf.newaxis])[0]]
