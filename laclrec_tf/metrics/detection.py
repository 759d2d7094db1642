"""How well a score tells noise from other events."""

from __future__ import annotations

import numpy as np
import polars as pl  # scipy.stats ranks too, but its import takes each process half a second


def detection_quality(scores: np.ndarray, is_noise: np.ndarray, is_last: np.ndarray) -> dict[str, float]:
    """Measure how well scores find noise, anywhere and among the last events of the histories.

    Args:
        scores: `[E]` float, larger for what is likelier noise.
        is_noise: `[E]` bool, whether the event is noise.
        is_last: `[E]` bool, whether the event is the last one of its history.

    Returns:
        `auc` and `auc_last`, see `roc_auc`; `precision_at_n` and `precision_at_n_last`, see `precision_at_n`. Without
        noise or other events in a place, its values are left out.

    Example:
        >>> marks = np.array([True, False, True, False])
        >>> detection_quality(np.array([0.9, 0.1, 0.3, 0.5]), marks, ~marks)["auc"]
        0.75
    """
    return {
        f"{name}{place}": measure(scores[rows], is_noise[rows])
        for place, rows in (("", slice(None)), ("_last", is_last))
        if len(np.unique(is_noise[rows])) == 2
        for name, measure in (("auc", roc_auc), ("precision_at_n", precision_at_n))
    }


def popularity_scores(popularity: np.ndarray, is_noise: np.ndarray) -> np.ndarray:
    """Return the popularity of events as scores of noise, in the direction that finds more of it.

    Args:
        popularity: `[E]` float.
        is_noise: `[E]` bool.
    """
    return -popularity if roc_auc(popularity, is_noise) < 0.5 else popularity


def roc_auc(scores: np.ndarray, is_noise: np.ndarray) -> float:
    """Return the probability that a noise event has a larger score than another event; a tie counts half.

    Args:
        scores: `[E]` float.
        is_noise: `[E]` bool.

    Returns:
        The area under the ROC curve, 0.5 for random scores; NaN without noise or without other events.

    Example:
        >>> roc_auc(np.array([0.9, 0.5, 0.5]), np.array([True, False, True]))
        0.75
    """
    n_noise = int(np.sum(is_noise))
    n_others = len(is_noise) - n_noise
    if not n_noise or not n_others:
        return float("nan")
    ranks = pl.Series(scores).rank().to_numpy()[np.asarray(is_noise, bool)]
    return float((ranks.sum() - n_noise * (n_noise + 1) / 2) / (n_noise * n_others))


def precision_at_n(scores: np.ndarray, is_noise: np.ndarray) -> float:
    """Return the share of noise among the `n` events with the largest scores, `n` the number of noise events.

    Args:
        scores: `[E]` float. Of events with the smallest score that is counted, the mean share counts.
        is_noise: `[E]` bool.

    Returns:
        The precision, and at once the recall; NaN without noise.

    Example:
        >>> precision_at_n(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
        0.5
    """
    n_noise = int(np.sum(is_noise))
    if not n_noise:
        return float("nan")
    edge = np.sort(scores)[-n_noise]
    above, at_edge = scores > edge, scores == edge
    hits = np.sum(is_noise[above]) + (n_noise - above.sum()) * np.mean(is_noise[at_edge])
    return float(hits / n_noise)
