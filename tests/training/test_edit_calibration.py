"""The calibration finds planted weights, and chooses nothing where nothing is gained."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.layers.edit_mixture import COEFFICIENTS
from laclrec_tf.models import build_preset
from laclrec_tf.training.deletion_calibration import calibrate_deletions
from laclrec_tf.training.edit_calibration import (
    FLOOR,
    Samples,
    _log_likelihood,
    calibrate_edits,
    fit_weights,
    read_samples,
)

N_USERS = 4000


def samples(of_target: np.ndarray, numbers: np.ndarray | None = None) -> Samples:
    n = len(of_target)
    numbers = np.zeros((n, 2, 7)) if numbers is None else numbers
    return Samples(np.arange(n), np.ones(n, bool), numbers, np.ones((n, 4), bool), of_target)


def test_uniform_weights_of_a_hand_worked_case():
    # In half of the rows only the history predicts the target, in the other half only the one without the last event:
    # both of these edits get the weight of the history, and each target the same probability.
    of_target = np.tile([[0.4, 0.0, 0.0, 0.0], [0.0, 0.4, 0.4, 0.0]], (100, 1))
    bias, both = fit_weights(samples(of_target), "uniform")
    # log((0.4 + f) ...): with weights 1, w, w the loss is symmetric in 1 and 2 w at w = 1 / 2.
    assert np.exp(bias) == pytest.approx(0.5, rel=1e-2)
    assert both < -1


def test_learned_weights_follow_the_number_that_tells_noise():
    rng = np.random.default_rng(0)
    is_noise = rng.random((N_USERS, 2)) < 0.3
    numbers = rng.normal(size=(N_USERS, 2, 7))
    numbers[..., 1] -= 3 * is_noise  # the best fit tells noise, the other numbers tell nothing
    right = is_noise[:, 0] + 2 * is_noise[:, 1]
    of_target = np.full((N_USERS, 4), 0.01)
    of_target[np.arange(N_USERS), right] = 0.3
    learned = dict(zip(COEFFICIENTS, fit_weights(samples(of_target, numbers), "learned"), strict=True))
    assert learned["after_best"] < -0.5
    others = set(COEFFICIENTS) - {"bias", "both", "after_best"}
    assert all(abs(learned[name]) < 0.2 for name in others)


def test_slopes_agree_with_differences():
    rng = np.random.default_rng(1)
    given = samples(rng.random((20, 4)) * 0.01, rng.normal(size=(20, 2, 7)))
    weights = rng.normal(size=9)
    _, slope = _log_likelihood(given, weights)
    for index, step in enumerate(np.eye(9) * 1e-6):
        difference = (_log_likelihood(given, weights + step)[0] - _log_likelihood(given, weights - step)[0]).mean()
        assert slope[index] == pytest.approx(difference / 2e-6, rel=1e-4, abs=1e-9)


def test_the_value_is_that_of_the_model():
    model = build_preset("sasrec", n_items=20, width=8)
    rng = np.random.default_rng(2)
    histories = [rng.integers(1, 21, rng.integers(1, 9)) for _ in range(60)]
    targets = rng.integers(1, 21, 60)
    calibrate_deletions(model, histories, targets, np.arange(1, 21))
    found = calibrate_edits(model, histories, targets, np.arange(1, 21))
    assert found["chosen"] == model.chosen_edits
    # An untrained model, whose predictions are level, gains nothing.
    assert found["chosen"] == "none"
    weights = np.array([found["learned"][name] for name in COEFFICIENTS])
    np.testing.assert_allclose(model.mixture.learned, weights, rtol=1e-6)
    read = read_samples(model, histories, targets, np.arange(1, 21), seed=0)
    clean = np.flatnonzero(read.is_clean)[:60]
    values, _ = _log_likelihood(read, weights)
    for row in clean[:10]:
        history = np.zeros((1, 8), np.int32)
        own = histories[read.user[row]]
        history[0, : len(own)] = own
        score = model.scores_of(history, "learned").numpy()[0, targets[read.user[row]]]
        assert values[row] == pytest.approx(np.log(score + FLOOR), rel=1e-4)


def test_a_mixture_is_chosen_where_the_last_event_is_noise():
    # Each item is followed by the next one; the model knows it, because its vectors say so.
    n_items = 40
    model = build_preset("sasrec", n_items=n_items, width=16)
    rng = np.random.default_rng(3)
    starts = rng.integers(1, 20, 200)
    histories = [np.arange(start, start + 8) for start in starts]
    model.edit_scores = lambda history, edits="learned": _follows_the_last(history, n_items)  # type: ignore[method-assign]
    model.evidence.threshold.assign(0.5)
    found = calibrate_edits(model, histories, starts + 8, np.ones(n_items))
    assert found["chosen"] == "learned"
    assert found["learned"]["gain"] > found["uniform"]["gain"] > 0
    assert found["learned"]["after"] + found["learned"]["after_best"] < 0  # what fits is kept


def _follows_the_last(history, n_items):
    length = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=-1)[:, tf.newaxis]
    back = tf.constant([1, 2, 1, 3, 4, 5])  # the last event of each variant, from the end
    last = tf.gather(history, tf.maximum(length - back, 0), batch_dims=1)
    scores = tf.one_hot(last, n_items) * 6.0  # the column of item `last + 1`
    events = tf.gather(history, tf.maximum(length - tf.constant([1, 2]), 0), batch_dims=1)
    event_scores = tf.gather(scores, tf.repeat(events[:, tf.newaxis] - 1, 6, axis=1), batch_dims=2)
    return scores[:, :4], event_scores, tf.zeros(tf.shape(history)[0])
