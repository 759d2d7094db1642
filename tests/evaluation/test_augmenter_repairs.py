"""Deletions of noise: numbers by hand, and a model's edits history by history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.evaluation.augmenter_repairs import Deletions, corruption_popularity, deletions_of, repairs_of
from laclrec_tf.ops.edits import DELETE


def test_precision_and_recall_by_hand():
    # Of ten events four are noise; three are deleted, two of them noise.
    noise = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    deleted = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    assert Deletions(deleted * 0.5, deleted, noise).summary() == {
        "events": 10,
        "noise_events": 4,
        "deleted_events": 3,
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "good_lost": pytest.approx(1 / 6),
        "precision_at_random": 0.4,
        "recall_at_random": 0.3,
    }


def test_nothing_deleted_has_no_precision():
    summary = Deletions(np.zeros(3), np.zeros(3, bool), np.array([True, False, False])).summary()
    assert np.isnan(summary["precision"]) and summary["recall"] == summary["good_lost"] == 0


def test_events_of_equal_probability_share_a_threshold():
    # 0.9 noise; 0.5 noise and good together; 0.1 good.
    curve = Deletions(np.array([0.5, 0.9, 0.1, 0.5]), np.zeros(4, bool), np.array([1, 1, 0, 0], bool)).curve()
    assert [part.tolist() for part in curve] == [[1.0, 2 / 3, 0.5], [0.5, 1.0, 1.0], [0.0, 0.5, 1.0]]


def test_every_event_is_predicted_and_keeps_its_mark(laclrec_run):
    """The shortest histories come first."""
    model = laclrec_run.model
    histories = [np.array([7, 8, 9], np.int32), np.array([3], np.int32), np.array([5, 6], np.int32)]
    is_noise = np.array([True, False, False, False, True, False])  # 7; none; 5
    found = deletions_of(model, histories, is_noise)
    assert found.is_noise.tolist() == [False, True, False, True, False, False]
    each = [model.edit(tf.constant(history[None])) for history in (histories[1], histories[2], histories[0])]
    expected = np.concatenate([edits.probabilities.numpy()[0, :, DELETE] for edits in each])
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    assert found.decided.tolist() == np.concatenate([edits.operations.numpy()[0] == DELETE for edits in each]).tolist()


def test_histories_are_corrupted_with_the_noise_of_the_training(laclrec_run):
    assert laclrec_run.record["settings"]["corruption_noise"] == "uniform"
    assert corruption_popularity(laclrec_run) is None
    settings = laclrec_run.record["settings"] | {"corruption_noise": "popular"}
    popular = replace(laclrec_run, record=laclrec_run.record | {"settings": settings})
    weights = corruption_popularity(popular)
    assert weights.tolist() == laclrec_run.popularity.tolist()

    history = [np.array([5, 6, 7, 8], np.int32)] * 30
    n_items = laclrec_run.model.n_items
    only_one = np.arange(1, n_items + 1) == 9
    uniform, popular = (repairs_of(laclrec_run.model, history, 3, each) for each in (None, only_one))
    assert np.array_equal(uniform.operations, popular.operations)
    assert not np.array_equal(uniform.probabilities, popular.probabilities)
