"""The paired bootstrap and the reliability of probabilities, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.metrics.significance import paired_bootstrap, reliability


def test_the_difference_is_the_difference_of_means():
    result = paired_bootstrap(np.array([1.0, 0.0, 0.5, 0.5]), np.array([0.0, 0.0, 0.25, 0.25]))
    assert result.difference == pytest.approx(0.375)
    assert result.low <= 0.375 <= result.high


def test_equal_models_do_not_differ():
    values = np.random.default_rng(0).random(100)
    assert paired_bootstrap(values, values) == (0.0, 0.0, 0.0, 1.0)


def test_the_interval_and_the_p_value_are_those_of_the_normal_law():
    """Of 400 users 60 are served better and 40 worse: a mean of .05 with a standard error of .0249, z = 2.008."""
    first = np.repeat([1.0, 0.0, 0.0], [60, 40, 300])
    second = np.repeat([0.0, 1.0, 0.0], [60, 40, 300])
    result = paired_bootstrap(first, second, n_resamples=40_000)
    error = math.sqrt(100 / 400 - 0.05**2) / 20
    assert result.low == pytest.approx(0.05 - 1.96 * error, abs=0.003)
    assert result.high == pytest.approx(0.05 + 1.96 * error, abs=0.003)
    # The law of the resamples is discrete, in steps of 1/400: 0 itself counts as no difference.
    assert result.p_value == pytest.approx(math.erfc((0.05 - 0.5 / 400) / error / math.sqrt(2)), abs=0.004)


def test_the_other_way_round_is_as_sure():
    generator = np.random.default_rng(1)
    first, second = generator.random(300), generator.random(300)
    there, back = paired_bootstrap(first, second, seed=3), paired_bootstrap(second, first, seed=3)
    assert back.difference == -there.difference
    assert back.p_value == pytest.approx(there.p_value, abs=0.02)


def test_the_same_seed_draws_the_same_users():
    first, second = np.random.default_rng(2).random((2, 50))
    assert paired_bootstrap(first, second, seed=1) == paired_bootstrap(first, second, seed=1)
    assert paired_bootstrap(first, second, seed=1) != paired_bootstrap(first, second, seed=2)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_other_users_are_refused(first, second):
    with pytest.raises(InputError, match="same users"):
        paired_bootstrap(np.array(first), np.array(second))


def test_cases_are_binned_and_compared():
    probabilities = np.array([0.0, 0.25, 0.3, 0.5, 0.9, 1.0])
    came_true = np.array([0, 0, 1, 1, 1, 0], bool)
    found = reliability(probabilities, came_true, n_bins=4)
    assert found.counts.tolist() == [1, 2, 1, 2]  # 0.25 and 0.5 belong to the bins above them, 1 to the last
    assert found.predicted == pytest.approx([0.0, 0.275, 0.5, 0.95])
    assert found.observed == pytest.approx([0.0, 0.5, 1.0, 0.5])
    assert found.expected_error == pytest.approx((1 * 0 + 2 * 0.225 + 1 * 0.5 + 2 * 0.45) / 6)


def test_an_empty_bin_is_no_number_and_weighs_nothing():
    found = reliability(np.array([0.9, 0.7]), np.array([True, False]), n_bins=2)
    assert np.isnan(found.predicted[0]) and np.isnan(found.observed[0])
    assert found.expected_error == pytest.approx(0.3)
