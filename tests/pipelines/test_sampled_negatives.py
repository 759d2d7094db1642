"""Negatives: the same for clean and noisy histories of the same users."""

import numpy as np

from laclrec_tf.evaluation.evaluate import sampled_negatives
from laclrec_tf.evaluation.ranking import sample_negatives

OWN = {"ann": np.array([1, 2, 3]), "bob": np.array([9, 8, 7, 6]), "cid": np.array([5, 5, 2])}
N_ITEMS = 150


def of(**histories):
    targets = np.array([history[-1] for history in histories.values()])
    return dict(
        zip(
            histories,
            sampled_negatives(list(histories), list(histories.values()), targets, OWN, N_ITEMS, 3),
            strict=True,
        )
    )


def test_an_evaluation_of_the_runs_own_histories_draws_for_all_in_turn():
    drawn = of(**OWN)
    np.testing.assert_array_equal(list(drawn.values()), sample_negatives(list(OWN.values()), N_ITEMS, seed=3))


def test_noise_order_and_who_is_left_out_change_nothing():
    clean = of(**OWN)
    noisy = of(cid=np.array([*range(20, 120), 5, 5, 2]), ann=np.array([1, 50, 2, 60, 3]))
    for user, negatives in noisy.items():
        np.testing.assert_array_equal(negatives, clean[user])


def test_others_get_items_they_never_met():
    stranger, later = np.arange(1, 41), np.array([1, 2, 3, 120])
    drawn = of(dan=stranger, ann=later)
    assert not set(drawn["dan"]) & set(stranger)
    assert not set(drawn["ann"]) & {1, 2, 3, 120}
    assert all(len(set(negatives)) == 99 for negatives in drawn.values())
