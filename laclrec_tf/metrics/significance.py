"""How far results can be trusted: the significance of a difference, and the calibration of probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from laclrec_tf.errors import InputError


class PairedDifference(NamedTuple):
    """A difference of means over users with its confidence interval and p-value.

    `difference` is mean(first) - mean(second); `low` and `high` bound its 95 % interval; `p_value` is two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray, *, n_resamples: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Compare two models on the same users by resampling users with replacement.

    The p-value is twice the smaller share of resamples whose difference is 0 or on the other side of 0. The sample
    itself counts as one resample, so the p-value is never 0.

    Args:
        first: `[U]` float, a metric of each user under the first model; with several seeds, the mean over them.
        second: `[U]` float, the same users in the same order under the second model.
        n_resamples: number of resamples. Default: 10,000.
        seed: seed of the resamples. Default: 0.

    Returns:
        `PairedDifference`.

    Raises:
        InputError: there are no users, or the two arrays differ in shape.

    Example:
        >>> result = paired_bootstrap(np.ones(50), np.zeros(50), n_resamples=99)
        >>> result.difference, result.p_value
        (1.0, 0.02)

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 16; Sakai, "Evaluating
    Evaluation Metrics Based on the Bootstrap", SIGIR 2006.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise InputError(
            "Arguments `first` and `second` must be `[U]` values of the same users. "
            f"Received: shapes {first.shape} and {second.shape}."
        )
    # Users with the same difference are drawn together: a few hundred values instead of all users.
    values, counts = np.unique(first - second, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(first.size, counts / first.size, size=n_resamples)
    means = drawn @ values / first.size
    beyond = min(np.sum(means <= 0), np.sum(means >= 0))
    low, high = np.quantile(means, [0.025, 0.975])
    p_value = min(1.0, 2.0 * (1 + beyond) / (1 + n_resamples))
    return PairedDifference(float(np.mean(first - second)), float(low), float(high), float(p_value))


@dataclass(frozen=True)
class Reliability:
    """Predicted probabilities in bins of equal width, and the observed frequency in each bin.

    Args:
        counts: `[bins]` int, number of cases in each bin.
        predicted: `[bins]` float, mean predicted probability; NaN in an empty bin.
        observed: `[bins]` float, share of cases that came true; NaN in an empty bin.
    """

    counts: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the mean distance of predicted and observed, weighted by the cases in a bin."""
        filled = self.counts > 0
        distance = np.abs(self.predicted[filled] - self.observed[filled])
        return float(np.sum(self.counts[filled] * distance) / np.sum(self.counts))


def reliability(probabilities: np.ndarray, came_true: np.ndarray, n_bins: int = 10) -> Reliability:
    """Compare predicted probabilities with what came true.

    Args:
        probabilities: `[E]` float from 0 to 1, at least one.
        came_true: `[E]` bool.
        n_bins: number of bins of equal width. A probability on an edge belongs to the bin above it, 1 to the last bin.
            Default: 10.

    Example:
        >>> found = reliability(np.array([0.1, 0.2, 0.9]), np.array([False, True, True]), n_bins=2)
        >>> found.counts.tolist(), found.observed.tolist(), round(found.expected_error, 3)
        ([2, 1], [0.5, 1.0], 0.267)
    """
    probabilities = np.asarray(probabilities, np.float64)
    bins = np.minimum((probabilities * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    sums = np.bincount(bins, weights=probabilities, minlength=n_bins)
    true = np.bincount(bins, weights=np.asarray(came_true, np.float64), minlength=n_bins)
    cases = np.where(counts, counts, np.nan)
    return Reliability(counts, sums / cases, true / cases)
