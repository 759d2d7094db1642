"""Reliability by hand."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.metrics.calibration import reliability


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
