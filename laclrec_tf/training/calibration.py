"""Calibrate what a trained model knows of noise, on events that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.models import LACLRec
from laclrec_tf.training.deletion_calibration import calibrate_deletions, set_deletions
from laclrec_tf.training.edit_calibration import calibrate_edits, set_calibration
from laclrec_tf.training.insertion_calibration import calibrate_insertions, set_insertions


def calibrate(
    model: LACLRec,
    histories: Sequence[np.ndarray],
    targets: np.ndarray,
    item_counts: np.ndarray,
    *,
    corruption_noise: str = "uniform",
    seed: int = 0,
) -> dict[str, Any]:
    """Calibrate which events are deleted, how edits are mixed and, for an augmenter that inserts, what is inserted.

    Args:
        model: trained model; only its evidence, its mixture and the augmenter's insertion threshold change.
        histories: per user `[n]` integer ids, oldest first; the newest event was not trained on.
        targets: `[U]` integer ids of the next items, which were not trained on either.
        item_counts: `[N]` number of training events of each item.
        corruption_noise: how corruption drew items in training, "uniform" or "popular". Default: "uniform".
        seed: seed of the planted noise. Default: 0.

    Returns:
        `deletions`, `edits` and, for an augmenter that inserts, `insertions`: the results of `calibrate_deletions`,
        `calibrate_edits` and `calibrate_insertions`.

    Raises:
        InputError: there are fewer than five users or another number of targets than histories, a history is empty, an
            id or a count is out of its range, or `corruption_noise` is unknown.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> model = build_preset("laclrec", n_items=30, width=8)
        >>> histories = [np.arange(1, 8) + user % 20 for user in range(50)]
        >>> sorted(calibrate(model, histories, np.arange(50) % 20 + 9, np.ones(30)))
        ['deletions', 'edits', 'insertions']
    """
    _check(model, histories, targets, item_counts, corruption_noise)
    # The mixture reads the noise level, which the evidence of deletions tells.
    found = {
        "deletions": calibrate_deletions(model, histories, targets, item_counts, seed=seed),
        "edits": calibrate_edits(model, histories, targets, item_counts, seed=seed),
    }
    if model.has_augmenter and model.can_insert:
        popularity = item_counts if corruption_noise == "popular" else None
        found["insertions"] = calibrate_insertions(model, histories, popularity, seed=seed)
    return found


def _check(
    model: LACLRec, histories: Sequence[np.ndarray], targets: np.ndarray, item_counts: np.ndarray, corruption_noise: str
) -> None:
    if corruption_noise not in ("uniform", "popular"):
        raise InputError(f"Argument `corruption_noise` must be 'uniform' or 'popular'. Received: {corruption_noise!r}.")
    if np.shape(item_counts) != (model.n_items,):
        raise InputError(
            f"Argument `item_counts` must have the shape [{model.n_items}], a number for each item. "
            f"Received: {np.shape(item_counts)}."
        )
    for name, of_users in (("histories", histories), ("targets", np.reshape(targets, (-1, 1)))):
        for user, item_ids in enumerate(of_users):
            if not len(item_ids) or np.min(item_ids) < 1 or np.max(item_ids) > model.n_items:
                raise InputError(
                    f"Argument `{name}` must hold item ids from 1 to {model.n_items}. "
                    f"Received: {np.asarray(item_ids).tolist()} of user {user}."
                )


def calibration_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `calibrate` found from the record of a run; nothing if the run was not calibrated."""
    return {name: record[name] for name in ("deletions", "edits", "insertions") if name in record}


def set_calibrations(model: LACLRec, found: dict[str, Any], item_counts: np.ndarray) -> None:
    """Set what `calibrate` found for a model that was trained with the same settings, such as a refit.

    Args:
        model: a model.
        found: result of `calibrate`.
        item_counts: `[N]` number of training events of each item.
    """
    set_deletions(model, found["deletions"])
    set_calibration(model, found["edits"], item_counts)
    if "insertions" in found:
        set_insertions(model, found["insertions"])


class Calibration(keras.callbacks.Callback):
    """Calibrate the model at the end of `Model.fit`; `laclrec-tf train` does so by itself.

    Callbacks that change the weights at the end, such as `EarlyStopping` and the averaging of `LazyAdam`, go before it.

    Args:
        histories: see `calibrate`.
        targets: see `calibrate`.
        item_counts: see `calibrate`.
        **settings: `corruption_noise` and `seed`, see `calibrate`.

    Attributes:
        found: result of `calibrate`; None before the end of the training.

    Example:
        >>> callback = Calibration(histories, targets, counts)  # doctest: +SKIP
        >>> model.fit(batches, epochs=30, callbacks=[callback])  # doctest: +SKIP
        >>> callback.found["edits"]["chosen"]  # doctest: +SKIP
        'learned'
    """

    def __init__(
        self, histories: Sequence[np.ndarray], targets: np.ndarray, item_counts: np.ndarray, **settings: Any
    ) -> None:
        super().__init__()
        self.histories, self.targets, self.item_counts, self.settings = histories, targets, item_counts, settings
        self.found: dict[str, Any] | None = None

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Calibrate the model."""
        self.found = calibrate(self.model, self.histories, self.targets, self.item_counts, **self.settings)
