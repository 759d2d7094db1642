"""Calibrate how much the edits of a history count: fit the weights of `EditMixture` on events that were held out.

The weights maximise the mixed probability of the next item, for histories whose newest event was not trained on and in
which noise is planted. Events that were trained on fit better than the events that a server sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from laclrec_tf.data.planted_noise import plant_noise
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import users_at_once
from laclrec_tf.layers.edit_mixture import COEFFICIENTS, EDITS, MAX_LOG_ODDS, MIN_LOG_ODDS, N_MIXED
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.masking import pad_histories

# The shares of planted noise that each history is read with, and what each reading counts.
NOISE_RATES = {0.0: 6, 0.1: 1, 0.2: 1, 0.3: 1}
# Added to the probability of a target: a target that no edit brings near the best items then hardly counts.
FLOOR = 1e-3
# Weight of the squares of the coefficients, for standardised numbers.
PENALTY = 3e-3
N_FOLDS = 5
_UNIFORM_NAMES = (COEFFICIENTS[0], COEFFICIENTS[-1])


class Samples(NamedTuple):
    """What the fit needs of `S` histories, planted noise included.

    `user [S]` integers; `is_clean [S]` bool, no noise was planted; `numbers [S, 2, 7]` of `EditMixture`;
    `exists [S, 4]` bool; `of_target [S, 4]`, the probability of the next item for each variant.
    """

    user: np.ndarray
    is_clean: np.ndarray
    numbers: np.ndarray
    exists: np.ndarray
    of_target: np.ndarray

    def of_users(self, users: np.ndarray) -> Samples:
        """Return the samples of users, `[U]` bool by user."""
        return Samples(*(values[users[self.user]] for values in self))


def calibrate_edits(
    model: LACLRec, histories: Sequence[np.ndarray], targets: np.ndarray, item_counts: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Fit "uniform" and "learned" of the model's `EditMixture`, choose between them and "none", and set the weights.

    Each kind maximises the mean of `log(P(target | history) + 0.001)`, and is judged on users that it was not fitted
    on. "uniform" is chosen over "none", and "learned" over the choice so far, if it gains more than two standard
    errors on all histories, and on those without planted noise loses no more than one, or than a tenth of that gain.

    Args:
        model: trained model, after `calibrate_deletions`; only its mixture changes.
        histories: per user `[n]` integer ids, oldest first; the newest event was not trained on.
        targets: `[U]` integer ids of the next items, which were not trained on either.
        item_counts: `[N]` number of training events of each item.
        seed: seed of the planted noise and of the folds. Default: 0.

    Returns:
        `chosen`, "none", "uniform" or "learned"; `users`; for "uniform" and "learned" the weights by name, and the mean
        gain over "none" of `log(P + 0.001)`, as `gain` on all histories and `gain_clean` on those without noise.

    Raises:
        InputError: there are fewer than five users, another number of targets than histories, or the model's deletions
            were not calibrated.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> from laclrec_tf.training.deletion_calibration import calibrate_deletions
        >>> model = build_preset("sasrec", n_items=30, width=8)
        >>> histories = [np.arange(1, 8) + user % 20 for user in range(50)]
        >>> _ = calibrate_deletions(model, histories, np.arange(50) % 20 + 9, np.ones(30))
        >>> found = calibrate_edits(model, histories, np.arange(50) % 20 + 9, np.ones(30))
        >>> found["users"], found["chosen"] == model.chosen_edits
        (50, True)
    """
    if len(histories) < N_FOLDS or len(targets) != len(histories):
        raise InputError(
            f"Arguments `histories` and `targets` must have the same users, at least {N_FOLDS}. "
            f"Received: {len(histories)} histories and {len(targets)} targets."
        )
    if not model.is_calibrated:
        raise InputError(
            "Argument `model` must have its deletions calibrated first, because the weights of edits read the noise "
            "level. Use `calibrate`, which does both."
        )
    model.mixture.set_popularity(np.asarray(item_counts))
    samples = read_samples(model, histories, np.asarray(targets), np.asarray(item_counts), seed)
    found: dict[str, Any] = {"chosen": "none", "users": len(histories)}
    best = np.zeros(len(samples.user))
    for kind in EDITS[1:]:
        gains = cross_validated(samples, kind, seed)
        weights = fit_weights(samples, kind)
        names = COEFFICIENTS if kind == "learned" else _UNIFORM_NAMES
        found[kind] = dict(zip(names, map(float, weights), strict=True))
        found[kind] |= {"gain": float(gains.mean()), "gain_clean": float(gains[samples.is_clean].mean())}
        gain, error = _mean_over_users(gains - best, samples.user)
        clean, clean_error = _mean_over_users((gains - best)[samples.is_clean], samples.user[samples.is_clean])
        if gain > 2 * error and clean > -max(clean_error, gain / 10):
            found["chosen"], best = kind, gains
    set_calibration(model, found, item_counts)
    return found


def set_calibration(model: LACLRec, found: dict[str, Any], item_counts: np.ndarray) -> None:
    """Set the weights of the model's `EditMixture`.

    Args:
        model: a model. Only its mixture changes.
        found: result of `calibrate_edits`, also for a model that was trained with the same settings on more events.
        item_counts: `[N]` number of training events of each item.
    """
    mixture = model.mixture
    mixture.set_popularity(np.asarray(item_counts))
    mixture.uniform.assign([found["uniform"][name] for name in _UNIFORM_NAMES])
    mixture.learned.assign([found["learned"][name] for name in COEFFICIENTS])
    mixture.choice.assign(EDITS.index(found["chosen"]))


def cross_validated(samples: Samples, kind: str, seed: int = 0) -> np.ndarray:
    """Return the gain of `log(P(target) + 0.001)` over "none" of each sample, with weights fitted on other users.

    Args:
        samples: what to fit on.
        kind: "uniform" or "learned".
        seed: seed of the folds. Default: 0.

    Returns:
        `[S]` float64.
    """
    folds = np.random.default_rng(seed).permutation(int(samples.user.max()) + 1) % N_FOLDS
    values = np.empty(len(samples.user))
    for fold in range(N_FOLDS):
        weights = fit_weights(samples.of_users(folds != fold), kind)
        values[folds[samples.user] == fold] = _log_likelihood(samples.of_users(folds == fold), weights)[0]
    return values - np.log(samples.of_target[:, 0] + FLOOR)


def fit_weights(samples: Samples, kind: str) -> np.ndarray:
    """Maximise the mean of `log(P(target) + 0.001)`.

    Args:
        samples: what to fit on.
        kind: "uniform" or "learned".

    Returns:
        `[2]` or `[9]` float64, the weights of `EditMixture`.
    """
    n_numbers = samples.numbers.shape[-1] if kind == "learned" else 0
    numbers = samples.numbers[..., :n_numbers]
    mean, spread = numbers.mean(axis=(0, 1)), np.maximum(numbers.std(axis=(0, 1)), 1e-6)
    standardised = samples._replace(numbers=(numbers - mean) / spread)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _log_likelihood(standardised, weights)
        penalised = np.concatenate([[0], weights[1:-1], [0]])
        return PENALTY * np.sum(penalised**2) - value.mean(), 2 * PENALTY * penalised - slope

    fitted = minimize(loss, np.zeros(n_numbers + 2), jac=True, method="L-BFGS-B").x
    slopes = fitted[1:-1] / spread
    return np.concatenate([[fitted[0] - slopes @ mean], slopes, fitted[-1:]])


def read_samples(
    model: LACLRec, histories: Sequence[np.ndarray], targets: np.ndarray, item_counts: np.ndarray, seed: int = 0
) -> Samples:
    """Read histories as they are and with planted noise, see `calibrate_edits` for the arguments."""
    ids = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[ids, tf.TensorSpec([None], tf.int32)], autograph=False)
    def read(history: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
        scores, event_scores, noise_level = model.edit_scores(history)
        normalisers = tf.reduce_logsumexp(scores, axis=2)
        of_target = tf.exp(tf.gather(scores, target - 1, axis=2, batch_dims=1) - normalisers)
        of_events = event_scores[:, :N_MIXED] - normalisers[..., tf.newaxis]
        of_events = model.mixture.log_probabilities(of_events, event_scores)
        numbers = model.mixture.numbers(of_events, history, noise_level)
        return numbers, model.mixture.exists(history)[:, :N_MIXED], of_target

    batch_size = users_at_once(model.n_items * N_MIXED, max_users=128)
    parts = []
    for number, (rate, count) in enumerate(NOISE_RATES.items()):
        noisy, _ = plant_noise(
            histories,
            rate,
            n_items=model.n_items,
            popularity=item_counts,
            never=list(targets[:, np.newaxis]),
            seed=seed + number,
        )
        # Histories of similar length share a batch, so that little padding is computed.
        order = np.argsort([len(history) for history in noisy], kind="stable")
        for start in range(0, len(order), batch_size):
            users = order[start : start + batch_size]
            history = pad_histories([noisy[user][-model.max_length :] for user in users])
            read_values = [values.numpy() for values in read(history, targets[users].astype(np.int32))]
            parts += [(users, np.full(len(users), rate == 0), *read_values)] * count
    user, is_clean, numbers, exists, of_target = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Samples(user, is_clean, numbers.astype(np.float64), exists, of_target.astype(np.float64))


def _log_likelihood(samples: Samples, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `log(P(target) + 0.001)` of each sample, `[S]`, and the slope of its mean by weight."""
    odds = weights[0] + samples.numbers[..., : len(weights) - 2] @ weights[1:-1]  # [S, 2]; "uniform" reads no numbers
    inside = (odds > MIN_LOG_ODDS) & (odds < MAX_LOG_ODDS)
    odds = np.clip(odds, MIN_LOG_ODDS, MAX_LOG_ODDS)
    exponents = np.stack([np.zeros(len(odds)), odds[:, 0], odds[:, 1], odds.sum(axis=1) + weights[-1]], axis=1)
    exponents = np.where(samples.exists, exponents, -np.inf)
    shares = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    mixed = np.sum(shares * samples.of_target, axis=1)
    by_exponent = shares * (samples.of_target - mixed[:, np.newaxis]) / (mixed + FLOOR)[:, np.newaxis]
    by_odds = np.where(inside, by_exponent[:, 1:3] + by_exponent[:, 3:], 0.0)
    by_number = np.einsum("se,sen->n", by_odds, samples.numbers[..., : len(weights) - 2])
    slope = np.concatenate([[by_odds.sum()], by_number, [by_exponent[:, 3].sum()]])
    return np.log(mixed + FLOOR), slope / len(odds)


def _mean_over_users(values: np.ndarray, user: np.ndarray) -> tuple[float, float]:
    """Return the mean over users of their mean values, and its standard error."""
    means = np.bincount(user, values) / np.bincount(user)
    return float(means.mean()), float(means.std() / np.sqrt(means.size))
