"""Partitions: each item once, near ones together, none too large."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.retriever.partitioned_index import LARGEST, partition


def clusters(n_clusters: int, size: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(n_clusters, 8)) * 10
    return (np.repeat(centres, size, axis=0) + generator.normal(size=(n_clusters * size, 8))).astype(np.float32)


@pytest.mark.parametrize("n_partitions", [1, 5, 20, 100])
def test_each_item_is_in_one_partition(n_partitions):
    ids = np.arange(7, 107, dtype=np.int32)
    partitions = partition(clusters(20, 5), ids, n_partitions)
    listed = partitions.item_ids[partitions.item_ids > 0]
    np.testing.assert_array_equal(np.sort(listed), ids)
    assert (partitions.item_ids[:, 0] > 0).all()  # none is empty
    assert partitions.item_ids.shape[1] <= max(1, int(LARGEST * 100 / n_partitions))
    assert len(partitions.centres) == len(partitions.item_ids)


def test_near_items_are_together_and_the_centre_is_their_mean():
    vectors = np.array([[0, 0], [0, 1], [50, 0], [50, 1]], np.float32)
    partitions = partition(vectors, np.array([1, 2, 3, 4]), 2)
    by_first = {min(row): centre.tolist() for row, centre in zip(partitions.item_ids, partitions.centres, strict=True)}
    assert sorted(map(sorted, partitions.item_ids.tolist())) == [[1, 2], [3, 4]]
    assert by_first == {1: [0.0, 0.5], 3: [50.0, 0.5]}


def test_a_large_partition_is_cut_across_its_longest_direction():
    vectors = np.array([[x, x % 2 / 10] for x in range(8)], np.float32)
    partitions = partition(np.vstack([vectors, [[1000.0, 0.0]]]).astype(np.float32), np.arange(1, 10), 3)
    assert partitions.item_ids.shape[1] <= 4
    for row in partitions.item_ids:
        row = np.sort(row[row > 0])
        assert row.tolist() == list(range(row[0], row[0] + len(row)))


def test_the_same_seed_gives_the_same_partitions():
    vectors, ids = clusters(20, 5), np.arange(1, 101)
    first, second = (partition(vectors, ids, 10, seed=3).item_ids for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("n_partitions", [0, -1, 101])
def test_numbers_of_partitions_out_of_range(n_partitions):
    with pytest.raises(
        InputError, match=f"`n_partitions` must be between 1 and the 100 items. Received: {n_partitions}"
    ):
        partition(clusters(20, 5), np.arange(1, 101), n_partitions)
