"""Histories of many lengths in memory as one array, cut into padded batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from laclrec_tf.ops.masking import PAD_ID


class FlatHistories:
    """All histories one behind the other, and where each begins and ends.

    A dataset shuffles and batches the bounds, sixteen bytes a history, and a whole batch is gathered at once: faster
    than a tensor for each history, and none of them is kept.

    Args:
        histories: per user `[n]` integer ids, oldest first.

    Attributes:
        bounds: `[U, 2]` int64, first and one behind the last position of each history.

    Example:
        >>> histories = FlatHistories([np.array([5, 6, 7]), np.array([8])])
        >>> histories.gather(histories.bounds[::-1]).numpy().tolist()
        [[8, 0, 0], [5, 6, 7]]
    """

    def __init__(self, histories: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(history) for history in histories], np.int64)
        ends = np.cumsum(lengths)
        self.bounds = np.stack([ends - lengths, ends], axis=1)
        # One more, so that there is something to point at behind the last history.
        self.item_ids = tf.constant(np.concatenate([*histories, [PAD_ID]]).astype(np.int32))

    def gather(self, bounds: tf.Tensor, width: int | tf.Tensor | None = None) -> tf.Tensor:
        """Return histories side by side.

        Args:
            bounds: `[B, 2]` rows of `bounds`.
            width: columns of the result, no fewer than the longest history has items. Default: as many.

        Returns:
            `[B, width]` int32 ids, PAD behind each history.
        """
        starts, ends = tf.unstack(tf.cast(bounds, tf.int64), num=2, axis=1)
        width = tf.reduce_max(ends - starts) if width is None else tf.cast(width, tf.int64)
        places = starts[:, tf.newaxis] + tf.range(width)  # [B, width]
        item_ids = tf.gather(self.item_ids, tf.minimum(places, tf.size(self.item_ids, tf.int64) - 1))
        return tf.where(places < ends[:, tf.newaxis], item_ids, PAD_ID)

    def __repr__(self) -> str:
        return f"FlatHistories({len(self.bounds):,} histories, {self.item_ids.shape[0] - 1:,} items in all)"
