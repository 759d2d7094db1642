"""The mixture over the edits of a history: weights and numbers worked by hand, eagerly and traced."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.layers import EditMixture
from laclrec_tf.layers.edit_mixture import VARIANTS

N_ITEMS = 5
LEVEL = 0.3  # of noise


@pytest.fixture
def mixture() -> EditMixture:
    layer = EditMixture(N_ITEMS)
    layer.build()
    return layer


def scores_for(n_variants: int, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, n_variants, N_ITEMS)).astype(np.float32)


def mixed(mixture: EditMixture, history: list[list[int]], edits: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the variants' probabilities and the mixed ones, after a check that a traced call gives the same."""
    ids = tf.constant(history)
    scores = scores_for(6, len(history), seed)
    more = event_scores(mixture, ids, scores), ids, np.full(len(history), LEVEL, np.float32)
    eager = mixture(scores[:, :4], *more, edits=edits)
    traced = tf.function(lambda *inputs: mixture(*inputs, edits=edits))(scores[:, :4], *more)
    np.testing.assert_allclose(eager, traced, rtol=1e-6)
    return tf.nn.softmax(scores).numpy(), eager.numpy()


def event_scores(mixture: EditMixture, history: tf.Tensor, scores: np.ndarray) -> tf.Tensor:
    """Return the scores of the last two events for each variant, `[B, 6, 2]`, with a look-up for each."""
    columns = np.clip(mixture.last_events(history).numpy() - 1, 0, N_ITEMS - 1)
    return tf.stack([scores[row][:, columns[row]] for row in range(len(columns))])


def numbers_of(mixture: EditMixture, history: tf.Tensor, level: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers, and the logarithms of the last events' probabilities that they are made of."""
    scores = scores_for(6, len(history))
    of_events = event_scores(mixture, history, scores)
    log_p = mixture.log_probabilities(of_events[:, :4] - tf.reduce_logsumexp(scores, 2)[:, :4, tf.newaxis], of_events)
    np.testing.assert_allclose(log_p[:, 4:], of_events[:, 4:] - mixture.typical_normaliser)
    return mixture.numbers(log_p, history, tf.constant(level)).numpy(), log_p.numpy()


def test_uniform_weights_by_hand(mixture: EditMixture) -> None:
    mixture.uniform.assign([np.log(2.0), np.log(3.0)])  # 1 : 2 : 2 : 2 * 2 * 3
    of_variants, result = mixed(mixture, [[1, 2, 3, 4]], "uniform")
    np.testing.assert_allclose(result[0], np.array([1, 2, 2, 12]) @ of_variants[0, :4] / 17, rtol=1e-5)


def test_an_edit_never_empties_a_history(mixture: EditMixture) -> None:
    mixture.uniform.assign([3.0, 3.0])
    of_variants, result = mixed(mixture, [[4, 0, 0], [4, 5, 0], [0, 0, 0]], "uniform")
    np.testing.assert_allclose(result[0], of_variants[0, 0], rtol=1e-5)
    weights = np.array([1, np.exp(3), np.exp(3)])
    np.testing.assert_allclose(result[1], weights @ of_variants[1, :3] / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(result[2], of_variants[2, 0], rtol=1e-5)


def test_learned_weights_by_hand(mixture: EditMixture) -> None:
    mixture.set_popularity(np.array([1, 2, 3, 4, 10]))
    mixture.learned.assign([0.5, 0.1, 0.2, -0.4, 1.5, -0.7, 0.6, 0.9, 0.25])
    history = [1, 2, 3, 4, 5]
    mixture.typical_normaliser.assign(1.5)
    of_variants, result = mixed(mixture, [history], "learned")
    # The last two variants have the typical normaliser in place of their own.
    of_all = np.concatenate([of_variants[:, :4], np.exp(scores_for(6)[:, 4:] - 1.5)], axis=1)
    log_p = np.log(np.array([1, 2, 3, 4, 10]) / 20)

    def log_odds(item: int, variants: tuple[int, ...]) -> float:
        fits = [np.log(of_all[0, variant, item - 1]) - log_p[item - 1] for variant in variants]
        numbers = [1, np.mean(fits), max(fits), log_p[item - 1]]
        return np.dot([0.5, 0.1, 0.2, -0.4], numbers) + LEVEL * np.dot([1.5, -0.7, 0.6, 0.9], numbers)

    # The last event after 1, 2 and 3 events less, and the one before it.
    last, before = log_odds(5, (1, 3, 4)), log_odds(4, (3, 4, 5))
    weights = np.exp([0, last, before, last + before + 0.25])
    np.testing.assert_allclose(result[0], weights @ of_variants[0, :4] / weights.sum(), rtol=1e-5)


def test_numbers_are_0_without_the_event_they_need(mixture: EditMixture) -> None:
    mixture.set_popularity(np.ones(N_ITEMS))
    history = tf.constant([[1, 2, 3, 0], [1, 0, 0, 0]])
    numbers, events = numbers_of(mixture, history, [LEVEL, 0])
    # Three events: the last has two events before it, the other one.
    fits = events[0] - np.log(1 / N_ITEMS)
    np.testing.assert_allclose(numbers[0, 0, :2], [fits[[1, 3], 0].mean(), fits[[1, 3], 0].max()], rtol=1e-5)
    np.testing.assert_allclose(numbers[0, 1, :2], fits[3, 1], rtol=1e-5)
    log_p = np.log(1 / N_ITEMS)
    np.testing.assert_allclose(numbers[0, :, 2:4], [[log_p, LEVEL]] * 2, rtol=1e-5)
    np.testing.assert_allclose(numbers[0, :, 4:], LEVEL * numbers[0, :, :3], rtol=1e-5)
    np.testing.assert_allclose(numbers[1], [[0, 0, log_p, 0, 0, 0, 0], [0] * 7], rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    history=st.lists(st.integers(1, N_ITEMS), max_size=6),
    weights=st.lists(st.floats(-50, 50, width=32), min_size=9, max_size=9),
    seed=st.integers(0, 100),
)
def test_the_mixture_is_a_distribution(history: list[int], weights: list[float], seed: int) -> None:
    mixture = EditMixture(N_ITEMS)
    mixture.build()
    mixture.learned.assign(weights)
    ids = tf.constant([history + [0] * (6 - len(history))])
    scores = scores_for(6, 1, seed)
    more = event_scores(mixture, ids, scores), ids, tf.constant([LEVEL])
    result = mixture(scores[:, :4], *more, edits="learned").numpy()[0]
    assert result.sum() == pytest.approx(1, abs=1e-4)
    assert (result <= tf.nn.softmax(scores).numpy()[0, :4].max(axis=0) + 1e-5).all()


@given(history=st.lists(st.integers(1, N_ITEMS), max_size=7))
def test_a_variant_exists_where_it_leaves_an_event(history: list[int]) -> None:
    mixture = EditMixture(N_ITEMS)
    mixture.build()
    exists = mixture.exists(tf.constant([history + [0] * (7 - len(history))])).numpy()[0]
    for events, is_there in zip(VARIANTS, exists, strict=True):
        left = [item for place, item in enumerate(history) if len(history) - place not in events]
        assert is_there == (not events or (max(events) <= len(history) and bool(left)))


def test_an_improbable_event_has_finite_weights(mixture: EditMixture) -> None:
    mixture.learned.assign([0.1] * 9)
    scores = np.full((1, 4, N_ITEMS), -1000.0, np.float32)
    scores[..., 0] = 0
    more = np.full((1, 6, 2), -1000.0, np.float32), tf.constant([[2, 3, 4, 5]]), tf.constant([LEVEL])
    assert np.isfinite(mixture(scores, *more, edits="learned")).all()


def test_the_last_events(mixture: EditMixture) -> None:
    history = tf.constant([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
    assert mixture.last_events(history).numpy().tolist() == [[3, 2], [4, 0], [0, 0]]


def test_an_item_without_events_counts_as_half_of_one(mixture: EditMixture) -> None:
    mixture.set_popularity(np.array([0, 1, 1, 1, 1]))
    shares = np.exp(mixture.log_popularity.numpy())
    np.testing.assert_allclose(shares[1:-2], [0.125, 0.25, 0.25, 0.25, 0.25], rtol=1e-6)
    np.testing.assert_allclose(shares[[0, -2, -1]], 0.125, rtol=1e-6)


def test_eos_and_mask_have_no_evidence(mixture: EditMixture) -> None:
    history = tf.constant([[1, 2, N_ITEMS + 2], [1, N_ITEMS + 1, 3]])
    numbers, _ = numbers_of(mixture, history, [LEVEL, LEVEL])
    assert not numbers[0, 0].any() and numbers[0, 1].any()
    assert numbers[1, 0].any() and not numbers[1, 1].any()


def test_the_mixture_computes_in_float32_whatever_the_policy() -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = EditMixture(N_ITEMS)
        layer.build()
        _, result = mixed(layer, [[1, 2, 3, 4]], "learned")
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert result.sum() == pytest.approx(1, abs=1e-5)


def test_config_round_trip(mixture: EditMixture) -> None:
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mixture))
    assert copy.n_items == N_ITEMS
    assert mixture.compute_output_shape((3, 6, N_ITEMS)) == (3, N_ITEMS)
