"""How operations are drawn from their logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from laclrec_tf.layers.sequence_augmenter import DECISIONS, NEVER, choose_operations


def chosen(logits: list[float], decision: str, temperature: float = 1.0) -> np.ndarray:
    """Choose 6,000 times."""
    many = np.broadcast_to(np.array(logits, np.float32), [600, 10, 3])
    return np.asarray(choose_operations(many, decision, temperature, keras.random.SeedGenerator(2)))


def shares(operations: np.ndarray) -> np.ndarray:
    return np.bincount(operations.ravel(), minlength=3) / operations.size


def test_argmax_takes_the_largest():
    assert shares(chosen([0.1, 0.3, 0.2], "argmax")).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gumbel_samples_from_the_softmax_at_its_temperature(temperature: float):
    weights = np.array([0.64, 0.32, 0.04]) ** (1 / temperature)
    operations = chosen(np.log([0.64, 0.32, 0.04]).tolist(), "gumbel", temperature)
    assert shares(operations) == pytest.approx(weights / weights.sum(), abs=0.02)


def test_noise_takes_the_argmax_of_logits_times_uniform_noise():
    # 2 u < v for one pair in four; a negative logit stays below both.
    assert shares(chosen([2.0, 1.0, -1.0], "noise")) == pytest.approx([0.75, 0.25, 0.0], abs=0.02)


@pytest.mark.parametrize("decision", DECISIONS)
def test_what_is_forbidden_is_never_chosen(decision: str):
    # Times noise, NEVER may come near 0, and all allowed logits are below it.
    assert shares(chosen([-50.0, NEVER, -40.0], decision))[1] == 0.0
