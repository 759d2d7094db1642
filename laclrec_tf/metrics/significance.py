"""Is one model really better than another on the same users?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from laclrec_tf.errors import InputError


class PairedDifference(NamedTuple):
    """A difference of means over users, and how sure it is.

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

    The p-value is twice the smaller share of resamples in which the difference is on the other side of 0, or on
    it; the sample itself counts as one resample, so it is never 0.

    Args:
        first: `[U]` float, a metric of each user under the first model; with several seeds the mean over them.
        second: `[U]` float, the same users in the same order under the second model.
        n_resamples: Default: 10,000.
        seed: of the resamples. Default: 0.

    Returns:
        `PairedDifference`.

    Raises:
        InputError: there are no users, or the two do not have the same ones.

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
