"""Detection of noise: numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.metrics.detection import (
    detection_quality,
    popularity_scores,
    precision_at_n,
    roc_auc,
)

MARKS = np.array([1, 0, 1, 0, 0], bool)


def test_by_hand():
    # Of the six pairs of noise and another event, 0.9 wins three, and 0.4 one and a half.
    scores = np.array([0.9, 0.5, 0.4, 0.4, 0.1])
    assert roc_auc(scores, MARKS) == pytest.approx(4.5 / 6)
    assert precision_at_n(scores, MARKS) == 0.5  # 0.9 and 0.5
    assert precision_at_n(np.array([0.9, 0.4, 0.4, 0.1, 0.1]), MARKS) == pytest.approx((1 + 1 / 2) / 2)  # one of a tie


def test_the_last_events_alone():
    quality = detection_quality(np.array([0.9, 0.5, 0.4, 0.6, 0.1]), MARKS, np.array([0, 0, 1, 1, 1], bool))
    assert quality == {
        "auc": pytest.approx(4 / 6),
        "precision_at_n": 0.5,
        "auc_last": 0.5,
        "precision_at_n_last": 0.0,
    }


def test_last_events_without_noise_are_left_out():
    quality = detection_quality(np.arange(5), MARKS, np.array([0, 1, 0, 1, 1], bool))
    assert quality == {"auc": pytest.approx(1 / 6), "precision_at_n": 0.0}


@pytest.mark.parametrize("marks", [np.zeros(3, bool), np.ones(3, bool), np.zeros(0, bool)])
def test_one_kind_of_events_has_no_auc(marks):
    assert np.isnan(roc_auc(np.arange(len(marks)), marks))


def test_popularity_counts_in_the_direction_that_finds_noise():
    popularity = np.array([1.0, 5.0, 2.0, 3.0, 4.0])
    assert roc_auc(popularity_scores(popularity, MARKS), MARKS) == 1
    assert roc_auc(popularity_scores(-popularity, MARKS), MARKS) == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=9))
def test_the_auc_is_the_share_of_pairs_in_order(events):
    scores, marks = np.array([score for score, _ in events]), np.array([mark for _, mark in events])
    pairs = [np.sign(a - b) / 2 + 0.5 for a in scores[marks] for b in scores[~marks]]
    if pairs:
        assert roc_auc(scores, marks) == pytest.approx(np.mean(pairs))
