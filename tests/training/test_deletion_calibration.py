"""The calibration of deletions: fits and rates with a known answer, and a model that knows what follows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from laclrec_tf.errors import InputError
from laclrec_tf.layers.deletion_evidence import COEFFICIENTS, NO_DELETION
from laclrec_tf.models import build_preset
from laclrec_tf.training.deletion_calibration import (
    _shift_to,
    calibrate_deletions,
    choose_threshold,
    fit_coefficients,
    noise_rate,
    set_deletions,
)

N_ITEMS = 40


def test_the_usual_logistic_regression():
    rng = np.random.default_rng(0)
    numbers = np.column_stack([np.ones(20_000), rng.normal(3, 2, 20_000), rng.normal(size=20_000)])
    wanted = np.array([-1.0, 0.5, -0.8])
    is_noise = rng.random(20_000) < expit(numbers @ wanted)
    np.testing.assert_allclose(fit_coefficients(numbers, is_noise), wanted, atol=0.08)


def test_noise_among_the_events_that_were_not_planted_is_taken_into_account():
    # Noise has the mean 1 and other events -1, so the log-odds are 2 x + log(rate / (1 - rate)).
    rng, n, rate = np.random.default_rng(1), 60_000, 0.2
    is_planted = rng.random(n) < 0.3
    is_noise = is_planted | (rng.random(n) < rate)
    numbers = np.column_stack([np.ones(n), rng.normal(np.where(is_noise, 1.0, -1.0))])
    fitted = fit_coefficients(numbers, is_planted, rate)
    np.testing.assert_allclose(fitted, [np.log(rate / (1 - rate)), 2.0], atol=0.25)  # a penalty makes slopes smaller
    assert fit_coefficients(numbers, is_planted)[1] < 1.5, "the usual regression takes noise for good events"


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_the_noise_rate(rate):
    rng = np.random.default_rng(2)
    is_noise = rng.random(20_000) < rate
    scores = rng.normal(np.where(is_noise, 2.0, -2.0))
    found = noise_rate(scores, rng.normal(2.0, size=20_000))
    assert rate - 0.01 < found < rate + 0.02


def test_a_score_that_tells_nothing_has_the_largest_rate():
    assert noise_rate(np.zeros(9), np.zeros(9)) == 0.5


def test_the_lowest_precise_threshold_by_hand():
    is_noise = np.array([1, 1, 0, 0, 0], bool)
    of_planted = np.array([0.9, 0.7, 0.6, 0.1, 0.1])
    # Above 0.5: (1 + 1 + 0.6) / 3 are noise, and 0.4 of 2.2 good events of the others are lost.
    too_many = choose_threshold(of_planted, is_noise, np.array([0.6, 0.1, 0.1]))
    assert too_many["threshold"] == pytest.approx(0.6, abs=0.011) and too_many["good_lost"] == 0
    assert (too_many["precision"], too_many["precision_at_least"], too_many["recall"]) == (1, 1, 1)
    found = choose_threshold(of_planted, is_noise, np.array([0.1, 0.1]))
    assert found["threshold"] == 0.5
    assert found["precision"] == pytest.approx(2.6 / 3) and found["precision_at_least"] == pytest.approx(2 / 3)


def test_no_threshold_is_precise_enough():
    is_noise = np.arange(100) < 4
    # Only uncertain events, and too little of the noise above all others.
    assert choose_threshold(np.full(100, 0.55), is_noise, np.full(9, 0.55))["threshold"] == NO_DELETION
    assert choose_threshold(np.full(100, 0.4), is_noise, np.full(9, 0.4))["threshold"] == NO_DELETION
    assert choose_threshold(np.full(9, 0.9), np.zeros(9, bool), np.full(9, 0.9))["threshold"] == NO_DELETION


def test_log_odds_are_shifted_to_a_mean_probability_whatever_their_spread():
    for log_odds in (np.array([0.0, 0.0]), np.array([-300.0, 0.0, 150.0, 400.0])):
        shift = _shift_to(0.3, log_odds)
        assert np.mean(expit(log_odds + shift)) == pytest.approx(0.3)


def chains(n_users: int, rate: float, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Histories that count up and their next items, with noise at a rate."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(1, N_ITEMS - 9, n_users)
    histories = []
    for start in starts:
        history = np.arange(start, start + 10)
        noise = rng.random(10) < rate
        history[noise] = rng.integers(1, N_ITEMS + 1, noise.sum())
        histories.append(history)
    return [history[:-1] for history in histories], np.array([history[-1] for history in histories])


@pytest.fixture
def model():
    """A model that expects the next number: state `t` is the vector of item `x_t + 1`, scaled."""
    model = build_preset("laclrec", n_items=N_ITEMS, width=N_ITEMS)
    table = np.zeros((N_ITEMS + 3, N_ITEMS), np.float32)
    table[1:-2] = np.eye(N_ITEMS)
    model.item_vectors.assign(table)
    follows = 5 * np.roll(table, -1, axis=0) + 2 * np.roll(table, -2, axis=0)
    model.hidden_states = lambda history, training: tf.gather(tf.constant(follows), history)
    return model


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_planted_noise_is_found_and_the_rate_of_the_histories_estimated(model, rate):
    histories, targets = chains(400, rate, seed=3)
    found = calibrate_deletions(model, histories, targets, np.ones(N_ITEMS), seed=1)
    # A tenth of the noise continues the count by chance, and what follows noise fits badly.
    assert rate - 0.03 < found["noise_rate"] < rate + 0.08
    assert found["quality"]["evidence"]["auc"] > (0.99 if rate == 0 else 0.85)
    assert abs(found["quality"]["popularity"]["auc"] - 0.5) < 0.05
    # Beside noise, good events look bad too: with much of it fewer deletions are sure.
    assert 0.5 <= found["threshold"] < 1 and found["precision"] >= 0.8
    assert found["recall"] > (0.9 if rate == 0 else 0.4)
    assert found["good_lost"] <= 0.01
    assert model.is_calibrated
    np.testing.assert_allclose(
        model.evidence.coefficients, [found["coefficients"][name] for name in COEFFICIENTS], rtol=1e-6
    )
    history = np.array([[3, 4, 5, 30, 6, 7, 8, 9, 10]], np.int32)
    decided = model.deletions_of(history).decided.numpy()[0]
    assert decided.tolist() == [number == 30 for number in history[0]]


def test_a_model_that_knows_nothing_deletes_nothing():
    model = build_preset("laclrec", n_items=30, width=8)
    rng = np.random.default_rng(4)
    histories = [rng.integers(1, 31, 8) for _ in range(100)]
    found = calibrate_deletions(model, histories, rng.integers(1, 31, 100), np.ones(30))
    assert found["threshold"] == NO_DELETION
    assert not model.deletions_of(np.stack(histories).astype(np.int32)).decided.numpy().any()


def test_a_calibration_is_taken_over_and_repeated(model):
    histories, targets = chains(60, 0.1, seed=5)
    found = calibrate_deletions(model, histories, targets, np.ones(N_ITEMS))
    assert calibrate_deletions(model, histories, targets, np.ones(N_ITEMS)) == found
    other = build_preset("laclrec", n_items=N_ITEMS, width=8)
    set_deletions(other, found)
    for weight, expected in zip(other.evidence.weights, model.evidence.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_too_few_users_are_refused(model):
    histories, targets = chains(4, 0.1, seed=5)
    with pytest.raises(InputError, match="at least 5. Received: 4 histories and 4 targets"):
        calibrate_deletions(model, histories, targets, np.ones(N_ITEMS))
