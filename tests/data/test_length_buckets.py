"""Length buckets: equally many targets a batch, and batches counted before they are made."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from laclrec_tf.data.batches import BOUNDARIES, BUCKETS, batch_sizes, bucket_end, count_batches, training_dataset


def test_a_batch_holds_about_equally_many_targets():
    # 512 targets over the middle of a bucket: 2.5 of 1 to 4 items, 28.5 of 25 to 32; beyond 32 a guess of 40.
    sizes = batch_sizes(512)
    assert len(sizes) == len(BUCKETS) + 1
    assert (sizes[0], sizes[-2], sizes[-1]) == (205, 18, 13)
    assert batch_sizes(1) == [1] * len(sizes)


def test_batches_are_counted_before_they_are_made():
    histories = [np.arange(1, length + 1, dtype=np.int32) for length in (1, 2, 3, 5, 6, 7, 12, 30, 45, 45)]
    for targets in (1, 20, 512):
        made = training_dataset(histories, n_items=60, targets_per_batch=targets)
        assert count_batches(histories, targets) == sum(1 for _ in made)
    assert count_batches([], 512) == 0


def test_the_end_of_a_bucket():
    for length, end in ((2, 5), (5, 5), (6, 7), (33, 33)):
        bounds = tf.constant([[10, 10 + length]], tf.int64)
        assert int(bucket_end(bounds, BOUNDARIES)) == end
