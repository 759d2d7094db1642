"""Ranks under each protocol, with a model whose scores are known."""

import types

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import rank_targets, sample_negatives, users_at_once
from laclrec_tf.metrics.ranking import MISSED


class FixedScores:
    """Gives every user the same scores: item i scores -i, so the ids are the ranking."""

    max_length = 50

    def __init__(self, n_items):
        self.n_items = n_items

    def __call__(self, history, training=False):
        return tf.zeros([tf.shape(history)[0], 1])

    def score(self, user_vectors):
        row = -tf.range(self.n_items + 3, dtype=tf.float32)
        special = tf.constant([0, self.n_items + 1, self.n_items + 2])
        row = tf.tensor_scatter_nd_update(row, special[:, tf.newaxis], tf.fill([3], -np.inf))
        return tf.tile(row[tf.newaxis], [tf.shape(user_vectors)[0], 1])


HISTORIES = [np.array([1, 2, 9]), np.array([4]), np.array([1, 2, 3, 4, 5])]
TARGETS = np.array([5, 1, 3])


def test_full_excludes_the_history_and_a_target_in_it_is_missed():
    # User 0: ids 1..4 rank before 5, of which 1 and 2 are history. User 2: 3 is itself history.
    assert rank_targets(FixedScores(10), HISTORIES, TARGETS).tolist() == [2, 0, MISSED]


def test_full_with_history_ranks_against_everything():
    ranks = rank_targets(FixedScores(10), HISTORIES, TARGETS, protocol="full-with-history")
    assert ranks.tolist() == [4, 0, 2]


def test_retired_items_rank_last_under_every_protocol():
    # Of 1 to 4, which rank before 5, user 0 has seen 1 and 2, and 4 is retired.
    assert rank_targets(FixedScores(10), HISTORIES, TARGETS, retired=[2, 4]).tolist() == [1, 0, MISSED]
    # Only 3 ranks before 5; 1, itself retired, ties with all that is never recommended, and ranks behind 12 columns.
    retired = [2, 4, 1]
    with_history = rank_targets(FixedScores(10), HISTORIES, TARGETS, protocol="full-with-history", retired=retired)
    assert with_history.tolist() == [1, 12, 0]
    negatives = np.array([[1, 2, 4], [3, 5, 6], [1, 2, 9]])
    sampled = rank_targets(
        FixedScores(10), HISTORIES, TARGETS, protocol="sampled-99", negatives=negatives, retired=retired
    )
    assert sampled.tolist() == [0, 3, 0]


def test_batches_do_not_change_ranks_or_their_order():
    whole = rank_targets(FixedScores(10), HISTORIES, TARGETS, batch_size=3)
    assert rank_targets(FixedScores(10), HISTORIES, TARGETS, batch_size=1).tolist() == whole.tolist()


def test_sampled_ranks_against_99_items_the_user_has_not_seen():
    model = FixedScores(103)
    histories = [np.array([1, 2]), np.array([3, 4])]
    seen = [np.array([1, 2, 50, 103]), np.array([3, 4, 101, 103])]
    # 103 - 4 = 99 items are left, so the sample is exactly those, whatever the seed: of the ids below 50 all
    # but 1 and 2; of the ids below 101 all but 3 and 4.
    negatives = sample_negatives(seen, n_items=103, seed=7)
    ranks = rank_targets(model, histories, np.array([50, 101]), protocol="sampled-99", negatives=negatives)
    assert ranks.tolist() == [47, 98]


class NextItem(FixedScores):
    """Scores the id after the last item highest, then the lower ids; its augmenter deletes the last item."""

    def __call__(self, history, training=False):
        lengths = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1)
        return tf.cast(tf.gather(history, lengths - 1, batch_dims=1), tf.float32)[:, tf.newaxis]

    def score(self, user_vectors):
        rank = tf.cast(tf.range(self.n_items + 3), tf.float32)[tf.newaxis, :]
        return tf.where(rank == user_vectors + 1, 1.0, -rank)

    def edit(self, history):
        lengths = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1, keepdims=True)
        kept = tf.where(tf.range(tf.shape(history)[1])[tf.newaxis, :] < lengths - 1, history, 0)
        return types.SimpleNamespace(edited=tf.pad(kept, [[0, 0], [0, 2]]))


def test_clean_ranks_on_the_edited_history_and_still_excludes_the_raw_one():
    histories, targets = [np.array([3, 5, 1])], np.array([6])
    # Raw: 2 follows 1; then 4, as 1, 3 and 5 are history; PAD, id 0, scores as an item here.
    assert rank_targets(NextItem(10), histories, targets).tolist() == [3]
    # Cleaned: 6 follows 5.
    assert rank_targets(NextItem(10), histories, targets, clean=True).tolist() == [0]
    # 1 was deleted from the history but stays excluded: 2 and 4 rank before 7, and so does 6, which follows 5.
    assert rank_targets(NextItem(10), histories, np.array([7]), clean=True).tolist() == [4]


def test_negatives_are_distinct_unseen_and_seeded():
    seen = [np.arange(1, 20), np.array([500, 400])]
    negatives = sample_negatives(seen, n_items=500, seed=3)
    assert negatives.shape == (2, 99)
    for items, row in zip(seen, negatives, strict=True):
        assert len(set(row.tolist())) == 99
        assert not set(row.tolist()) & set(items.tolist())
        assert row.min() >= 1 and row.max() <= 500
    np.testing.assert_array_equal(negatives, sample_negatives(seen, n_items=500, seed=3))
    assert (negatives != sample_negatives(seen, n_items=500, seed=4)).any()


def test_a_seed_below_zero_is_refused():
    with pytest.raises(InputError, match="`seed` must be 0 or above. Received: seed=-1"):
        sample_negatives([np.array([1])], n_items=200, seed=-1)


def test_a_small_catalogue_and_an_unknown_protocol_are_refused():
    with pytest.raises(InputError, match="the catalogue holds 10 items"):
        rank_targets(FixedScores(10), HISTORIES, TARGETS, protocol="sampled-99")
    with pytest.raises(InputError, match="must be one of full, full-with-history, sampled-99"):
        rank_targets(FixedScores(10), HISTORIES, TARGETS, protocol="all")


@pytest.mark.parametrize(("n_items", "users"), [(5, 512), (2**18, 512), (2**20, 128), (10**7, 13), (2**40, 1)])
def test_a_large_catalogue_is_ranked_for_few_users_at_a_time(n_items, users):
    assert users_at_once(n_items) == users
