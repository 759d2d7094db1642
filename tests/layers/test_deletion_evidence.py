"""The evidence of noise: worked by hand, alike in a graph, and kept by a saved model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.layers.deletion_evidence import COEFFICIENTS, NOT_CALIBRATED, DeletionEvidence
from laclrec_tf.losses.cross_entropy import log_normalisers
from laclrec_tf.models import LACLRec

POPULARITY = np.array([1.0, 0.1, 0.2, 0.3, 0.25, 0.15, 1.0, 1.0], np.float32)


@pytest.fixture
def layer():
    layer = DeletionEvidence(n_items=5)
    layer.build()
    return layer


@pytest.fixture
def parts():
    """Random states of four histories: five events, two, one and none."""
    random = np.random.default_rng(3)
    history = np.array([[2, 5, 1, 2, 4], [4, 3, 0, 0, 0], [4, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)
    hidden = random.normal(size=(4, 5, 6)).astype(np.float32)
    table = random.normal(size=(8, 6)).astype(np.float32)
    normalisers = np.reshape(log_normalisers(hidden.reshape(-1, 6), table), (4, 5))
    return history, hidden, normalisers, table, np.log(POPULARITY)


def test_the_numbers_by_hand(layer, parts):
    history, hidden, _, table, log_popularity = parts

    def fit(row: int, state: int, item: int) -> float:
        scores = table[1:6] @ hidden[row, state]
        share = np.exp(scores[item - 1]) / np.exp(scores).sum()
        return np.log(share) - log_popularity[item]

    numbers = layer.numbers(*parts).numpy()
    assert numbers.shape == (4, 5, len(COEFFICIENTS))
    first = {"bias": 1, "before_1": fit(0, 0, 5), "before_2": fit(0, 0, 1), "log_popularity": np.log(0.2)}
    first |= {"first": 1, "first_before_1": fit(0, 0, 5)}
    middle = {"bias": 1, "after_1": fit(0, 1, 1), "after_best": max(fit(0, 1, 1), fit(0, 0, 1))}
    middle |= {"before_1": fit(0, 2, 2), "without_1": fit(0, 1, 2), "before_2": fit(0, 2, 4), "without_2": fit(0, 1, 4)}
    middle |= {"log_popularity": np.log(0.1)}
    best = max(fit(0, 3, 4), fit(0, 2, 4), fit(0, 1, 4))
    last = {"bias": 1, "after_1": fit(0, 3, 4), "after_best": best, "log_popularity": np.log(0.25)}
    last |= {"last": 1, "last_after_best": best}
    second_and_last = {"bias": 1, "after_1": fit(1, 0, 3), "after_best": fit(1, 0, 3), "log_popularity": np.log(0.3)}
    second_and_last |= {"last": 1, "last_after_best": fit(1, 0, 3)}
    only = {"bias": 1, "log_popularity": np.log(0.25), "last": 1, "first": 1}
    cases = {(0, 0): first, (0, 2): middle, (0, 4): last, (1, 1): second_and_last, (2, 0): only}
    for place, expected in cases.items():
        assert numbers[place] == pytest.approx([expected.get(name, 0) for name in COEFFICIENTS], abs=1e-5), place
    assert not numbers[1, 2:].any() and not numbers[2, 1:].any() and not numbers[3].any()


def test_the_log_odds_are_the_numbers_times_the_coefficients(layer, parts):
    assert not layer(layer.numbers(*parts)).numpy().any(), "a new layer knows nothing"
    assert float(layer.threshold) == NOT_CALIBRATED
    layer.coefficients.assign(np.arange(12.0))
    numbers = layer.numbers(*parts)
    np.testing.assert_allclose(layer(numbers), numbers.numpy() @ np.arange(12.0), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_gives_the_same(layer, parts, jit_compile):
    traced = tf.function(layer.numbers, jit_compile=jit_compile)(*map(tf.constant, parts))
    np.testing.assert_allclose(traced, layer.numbers(*parts), rtol=1e-5, atol=1e-5)


def test_neither_padding_nor_a_mask_token_is_an_event(layer, parts):
    history, hidden, normalisers, table, log_popularity = parts
    wide = layer.numbers(
        np.pad(history, [[0, 0], [0, 2]]),
        np.pad(hidden, [[0, 0], [0, 2], [0, 0]], constant_values=9.0),
        np.pad(normalisers, [[0, 0], [0, 2]], constant_values=9.0),
        table,
        log_popularity,
    )
    np.testing.assert_allclose(wide[:, :5], layer.numbers(*parts), rtol=1e-6)
    assert not wide.numpy()[:, 5:].any()
    masked = history.copy()
    masked[0, 2] = 7
    numbers = layer.numbers(masked, *parts[1:]).numpy()
    assert not numbers[0, 2].any()
    assert numbers[0, 3, COEFFICIENTS.index("after_1")] != 0, "the state behind it still tells what fits"


def test_a_saved_model_keeps_evidence_and_thresholds(tmp_path):
    model = LACLRec(n_items=7, width=8)
    assert not model.is_calibrated
    model.evidence.coefficients.assign(np.arange(12.0) / 10)
    model.evidence.threshold.assign(0.4)
    model.augmenter.insertion_threshold.assign(0.6)
    model.mixture.set_popularity(np.arange(7))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.is_calibrated
    assert not {id(weight) for weight in loaded.evidence.weights} & {id(each) for each in loaded.trainable_weights}
    history = np.array([[3, 1, 4, 0], [5, 0, 0, 0]], np.int32)
    for part, again in zip(model.edit(history), loaded.edit(history), strict=True):
        np.testing.assert_allclose(part, again, rtol=1e-6)


def test_eos_and_mask_do_not_change_the_noise_level():
    layer = DeletionEvidence(20)
    layer.build()
    layer.coefficients.assign([-6.0, *[0.0] * 11])
    states, table = tf.ones([3, 5, 8]), tf.ones([23, 8])
    history = tf.constant([[1, 2, 3, 4, 5], [1, 22, 3, 4, 5], [21, 22, 22, 4, 5]])
    level = layer.noise_level(history, states, 0.0, table, tf.zeros([23])).numpy()
    probability = 1 / (1 + np.exp(6.0))
    np.testing.assert_allclose(level, [probability, probability, 0], rtol=1e-5)
