"""Whether probabilities mean what they say: of all that is given 70 %, do 70 % come true?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Probabilities in bins of equal width, and what came true in each.

    Args:
        counts: `[bins]` int, cases in each bin.
        predicted: `[bins]` mean probability, NaN in an empty bin.
        observed: `[bins]` share that came true, NaN in an empty bin.
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
    """Compare probabilities with what came true.

    Args:
        probabilities: `[E]` float from 0 to 1, at least one.
        came_true: `[E]` bool.
        n_bins: of equal width; a probability on an edge belongs to the bin above it, 1 to the last. Default: 10.

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
