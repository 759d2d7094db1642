"""Calibrate which events of a history are deleted: fit `DeletionEvidence` to planted noise, and choose its threshold.

The evidence is fitted to tell planted noise from the events of histories whose newest event was not trained on. Those
events contain noise, too, at a rate that nobody knows. It is estimated where real and planted events are alike, because
neither was trained on: at the newest events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import brentq, minimize
from scipy.special import expit

from laclrec_tf.data.planted_noise import plant_noise
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_repairs import PLANTED_RATE
from laclrec_tf.layers.deletion_evidence import COEFFICIENTS, NO_DELETION
from laclrec_tf.layers.edit_mixture import NOT_CALIBRATED
from laclrec_tf.metrics.detection import detection_quality, popularity_scores
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import DELETE
from laclrec_tf.ops.masking import pad_histories

# A deletion must be likelier right than wrong; of the deleted events, this share must be noise; of the other events, at
# most this share may be deleted; and of the planted noise, at least this share must be, or nothing is deleted.
MIN_THRESHOLD, MIN_PRECISION, MAX_GOOD_LOST, MIN_RECALL = 0.5, 0.8, 0.01, 0.05
# Histories are planted several times, where scoring the catalogue at all their events is cheap.
MAX_PLANTED, MAX_SCORES = 4, 10**9
MIN_RATE, MAX_RATE = 1e-3, 0.5
# Weight of the squares of the coefficients, for standardised numbers.
PENALTY = 1e-3
N_FOLDS = 5
AT_ONCE = 128
_BIAS, _LAST, _POPULARITY = (COEFFICIENTS.index(name) for name in ("bias", "last", "log_popularity"))


class Samples(NamedTuple):
    """Events of histories: `numbers [E, 12]` of `DeletionEvidence`, `is_noise [E]`, `user [E]` and `head [E]`.

    `is_noise` says which events were planted; `head` is the operation head's probability of DELETE, 0 without one.
    """

    numbers: np.ndarray
    is_noise: np.ndarray
    user: np.ndarray
    head: np.ndarray

    @property
    def is_last(self) -> np.ndarray:
        """Whether each event is the last one of its history, `[E]`."""
        return self.numbers[:, _LAST] > 0

    def where(self, rows: np.ndarray) -> Samples:
        """Return the events at which `[E]` bool is True."""
        return Samples(*(values[rows] for values in self))


def calibrate_deletions(
    model: LACLRec, histories: Sequence[np.ndarray], targets: np.ndarray, item_counts: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Fit the model's `DeletionEvidence` to planted noise, choose its threshold, and set both.

    Noise is planted at a rate of 15 %, drawn by popularity. The fit takes into account that the other events contain
    noise at the rate that `noise_rate` estimates. The biases are set so that on the histories as they are, the mean
    probability is that rate, both at the last events and before them. The threshold is the lowest one from 0.5 on at
    which at least 80 % of the deleted events of the planted histories are expected to be noise, and at most 1 % of
    the good events of the histories as they are to be deleted. If less than 5 % of the planted noise is above it,
    nothing is deleted.

    Args:
        model: trained model; only its evidence changes, and the popularity and the normaliser in its mixture.
        histories: per user `[n]` integer ids, oldest first; the newest event was not trained on.
        targets: `[U]` integer ids of the next items, which were not trained on either.
        item_counts: `[N]` number of training events of each item.
        seed: seed of the planted noise and of the folds. Default: 0.

    Returns:
        `users`; `noise_rate`, the estimate for the histories as they are; `threshold`, above 1 if nothing is deleted;
        `coefficients` by name; `typical_normaliser`; `precision`, `recall` and `good_lost` at the threshold, as
        expected on the planted histories, and `precision_at_least`, which counts planted noise only; `quality`, for
        "evidence" (on users that it was not fitted to), "popularity" and "operation_head" the result of
        `detection_quality` on planted noise.

    Raises:
        InputError: there are fewer than five users, or another number of targets than histories.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> model = build_preset("laclrec", n_items=30, width=8)
        >>> histories = [np.arange(1, 8) + user % 20 for user in range(50)]
        >>> found = calibrate_deletions(model, histories, np.arange(50) % 20 + 9, np.ones(30))
        >>> found["users"], sorted(found["quality"])
        (50, ['evidence', 'operation_head', 'popularity'])
    """
    if len(histories) < N_FOLDS or len(targets) != len(histories):
        raise InputError(
            f"Arguments `histories` and `targets` must have the same users, at least {N_FOLDS}. "
            f"Received: {len(histories)} histories and {len(targets)} targets."
        )
    model.mixture.set_popularity(np.asarray(item_counts))
    read = _reader(model)
    targets = np.asarray(targets)
    n_planted = int(np.clip(MAX_SCORES // (model.n_items * sum(map(len, histories))), 1, MAX_PLANTED))
    noise: dict[str, Any] = {
        "n_items": model.n_items,
        "popularity": np.asarray(item_counts),
        "never": list(targets[:, np.newaxis]),
    }
    planted = _joined(
        [read(*plant_noise(histories, PLANTED_RATE, **noise, seed=seed + number)) for number in range(n_planted)]
    )
    raw = read(histories)
    longer = read([np.append(history, target) for history, target in zip(histories, targets, strict=True)])
    behind = _joined(
        [
            read(*plant_noise(histories, 1 - 1e-9, where="last", **noise, seed=seed + MAX_PLANTED + number))
            for number in range(n_planted)
        ]
    )
    newest = np.concatenate([raw.numbers[raw.is_last], longer.numbers[longer.is_last]])

    plain = fit_coefficients(planted.numbers, planted.is_noise)
    rate = noise_rate(newest @ plain, behind.numbers[behind.is_last] @ plain)
    coefficients = fit_coefficients(planted.numbers, planted.is_noise, rate)
    # Events that were trained on, noise or not, look more expected than the planted ones.
    coefficients[_BIAS] += _shift_to(rate, raw.numbers[~raw.is_last] @ coefficients)
    coefficients[_LAST] += _shift_to(rate, newest @ coefficients)
    of_planted, of_raw = expit(planted.numbers @ coefficients), expit(raw.numbers @ coefficients)
    found: dict[str, Any] = {
        "users": len(histories),
        "noise_rate": rate,
        "coefficients": dict(zip(COEFFICIENTS, map(float, coefficients), strict=True)),
        "typical_normaliser": _typical_normaliser(model, histories),
        **choose_threshold(of_planted, planted.is_noise, of_raw),
        "quality": _quality(model, planted, seed),
    }
    set_deletions(model, found)
    return found


def set_deletions(model: LACLRec, found: dict[str, Any]) -> None:
    """Set the weights of the model's `DeletionEvidence`, and the typical normaliser of its `EditMixture`.

    Args:
        model: a model. The weights of its edits, which read the noise level, must be calibrated or set afterwards.
        found: result of `calibrate_deletions`, also for a model that was trained with the same settings on more events.
    """
    model.evidence.coefficients.assign([found["coefficients"][name] for name in COEFFICIENTS])
    model.evidence.threshold.assign(found["threshold"])
    model.mixture.typical_normaliser.assign(found["typical_normaliser"])
    model.mixture.choice.assign(NOT_CALIBRATED)  # the weights of edits read the noise level


def fit_coefficients(numbers: np.ndarray, is_noise: np.ndarray, rate: float | None = None) -> np.ndarray:
    """Fit a logistic regression to planted noise, where the other events contain noise as well.

    `z`, the numbers times the coefficients, are the log-odds that an event is noise in the histories as they are. With
    a noise rate of `rate` there, an event of the planted histories was planted with the odds `odds(planted) / rate *
    sigmoid(z)`: where all is noise, no more than `rate` of the events of a kind can be real. As `rate` goes to 0 this
    is the usual logistic regression.

    Args:
        numbers: `[E, C]` float, the first column is 1.
        is_noise: `[E]` bool, which events were planted.
        rate: noise rate of the other events. Default: None, the usual logistic regression.

    Returns:
        `[C]` float64 coefficients.
    """
    marks = is_noise.astype(np.float64)
    mean, spread = numbers.mean(axis=0), np.maximum(numbers.std(axis=0), 1e-6)
    mean[_BIAS], spread[_BIAS] = 0.0, 1.0
    standardised = (numbers - mean) / spread
    most = np.inf if rate is None else np.log(marks.mean() / (1 - marks.mean()) / rate)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = standardised @ weights
        odds, slope = (z, 1.0) if rate is None else (most - np.logaddexp(0, -z), expit(-z))
        likelihood = marks * odds - np.logaddexp(0, odds)
        gradient = standardised.T @ ((marks - expit(odds)) * slope) / len(marks)
        penalised = np.where(np.arange(len(weights)) == _BIAS, 0.0, weights)
        return PENALTY * np.sum(penalised**2) - likelihood.mean(), 2 * PENALTY * penalised - gradient

    fitted = minimize(loss, np.zeros(numbers.shape[1]), jac=True, method="L-BFGS-B").x / spread
    fitted[_BIAS] -= fitted @ mean
    return fitted


def noise_rate(scores: np.ndarray, noise_scores: np.ndarray) -> float:
    """Estimate the share of noise among events from their scores and those of noise alone.

    A share `r` of noise means that at least `r` times the share of the noise above any threshold lies above it. The
    largest `r` that holds for all thresholds is the estimate: an upper bound, which is near where some scores are those
    of noise only.

    Args:
        scores: `[E]` float of events, larger for what is likelier noise.
        noise_scores: `[F]` float of noise.

    Returns:
        The rate, from 0.001 to 0.5.

    Example:
        >>> noise_rate(np.array([0.0] * 9 + [5.0]), np.full(20, 5.0))
        0.1

    Reference: Garg et al., "Mixture Proportion Estimation and PU Learning: A Modern Approach", NeurIPS 2021
    (arXiv 2111.00980), without its confidence bounds.
    """
    thresholds = np.quantile(noise_scores, np.arange(0.1, 0.81, 0.1))
    ratios = [np.mean(scores >= each) / np.mean(noise_scores >= each) for each in thresholds]
    return float(np.clip(min(ratios), MIN_RATE, MAX_RATE))


def choose_threshold(of_planted: np.ndarray, is_noise: np.ndarray, of_raw: np.ndarray) -> dict[str, float]:
    """Choose the lowest threshold whose deletions are precise, see `calibrate_deletions`.

    Args:
        of_planted: `[E]` float, probabilities of the events of planted histories.
        is_noise: `[E]` bool, which of them were planted.
        of_raw: `[F]` float, probabilities of the events of the histories as they are.

    Returns:
        `threshold`, `precision`, `precision_at_least`, `recall` and `good_lost`.
    """
    for threshold in np.arange(MIN_THRESHOLD, 1, 0.01) if is_noise.any() else ():
        deleted = of_planted > threshold
        if np.mean(deleted[is_noise]) < MIN_RECALL:
            break
        precision = float(np.mean(np.where(is_noise, 1.0, of_planted)[deleted]))
        lost = float(np.sum((1 - of_raw)[of_raw > threshold]) / np.sum(1 - of_raw))
        if precision >= MIN_PRECISION and lost <= MAX_GOOD_LOST:
            return {
                "threshold": float(threshold),
                "precision": precision,
                "precision_at_least": float(np.mean(is_noise[deleted])),
                "recall": float(np.mean(deleted[is_noise])),
                "good_lost": lost,
            }
    return {"threshold": NO_DELETION, "recall": 0.0, "good_lost": 0.0}


def _shift_to(rate: float, log_odds: np.ndarray) -> float:
    """Return what to add to log-odds, so that the mean probability is `rate`."""
    if not log_odds.size:
        return 0.0
    bounds = -float(np.max(log_odds)) - 50, -float(np.min(log_odds)) + 50  # means of about 0 and 1
    return float(brentq(lambda shift: np.mean(expit(log_odds + shift)) - rate, *bounds))


def _quality(model: LACLRec, planted: Samples, seed: int) -> dict[str, dict[str, float]]:
    n_users = int(planted.user.max()) + 1
    folds = (np.random.default_rng(seed).permutation(n_users) % N_FOLDS)[planted.user]
    evidence = np.empty(len(planted.user))
    for fold in range(N_FOLDS):
        fitted = planted.where(folds != fold)
        evidence[folds == fold] = planted.numbers[folds == fold] @ fit_coefficients(fitted.numbers, fitted.is_noise)
    scores = {
        "evidence": evidence,
        "popularity": popularity_scores(planted.numbers[:, _POPULARITY], planted.is_noise),
    }
    if model.has_augmenter and model.can_delete:
        scores["operation_head"] = planted.head
    return {name: detection_quality(each, planted.is_noise, planted.is_last) for name, each in scores.items()}


def _typical_normaliser(model: LACLRec, histories: Sequence[np.ndarray]) -> float:
    """Return the mean normaliser of the states at the events of some histories."""
    history = tf.constant(pad_histories([events[-model.max_length :] for events in histories[:AT_ONCE]]))
    normalisers = model.catalogue.log_normalisers(model.hidden_states(history, training=False))
    return float(tf.reduce_mean(normalisers[history > 0]))


def _joined(parts: Sequence[Samples]) -> Samples:
    return Samples(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _reader(model: LACLRec) -> Callable[..., Samples]:
    """Return a function that reads the events of histories, `(histories, marks of noise) -> Samples`."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def numbers_of(history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = model.augmenter(model.augmenter.encode(model.encoder, history, training=False))
        real = history > 0
        return model.deletion_numbers(history)[real], tf.nn.softmax(logits)[..., DELETE][real]

    def read(histories: Sequence[np.ndarray], marks: Sequence[np.ndarray] | None = None) -> Samples:
        marks = [np.zeros(len(history), bool) for history in histories] if marks is None else marks
        # Histories of similar length share a batch, so that little padding is computed.
        order = np.argsort([len(history) for history in histories], kind="stable")
        parts = []
        for start in range(0, len(order), AT_ONCE):
            users = order[start : start + AT_ONCE]
            recent = [histories[user][-model.max_length :] for user in users]
            is_noise = np.concatenate([marks[user][-model.max_length :] for user in users])
            numbers, head = (values.numpy() for values in numbers_of(pad_histories(recent)))
            parts.append(Samples(numbers.astype(np.float64), is_noise, np.repeat(users, [*map(len, recent)]), head))
        return _joined(parts)

    return read
