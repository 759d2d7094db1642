"""Callbacks that watch the augmenter during training: whether it has collapsed, and how well it finds known noise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.errors import LACLRecWarning
from laclrec_tf.evaluation.augmenter_repairs import Deletions, deletions_of

# Rate of one operation on real histories above which the augmenter has collapsed.
COLLAPSED_RATE = 0.98
# Rate of INSERT on real histories above which most of the learned view is invented.
HIGH_INSERT_RATE = 0.5
# Share of the events that the max length may cut off the learned views.
HIGH_CUT_RATE = 0.01
# Recall of the random noise in corrupted histories below which the augmenter has learned next to nothing.
LOW_RECALL = 0.1


class AugmenterCollapseWarning(LACLRecWarning):
    """The augmenter keeps or deletes all items, inserts nearly everywhere, or its edits push events out of the view."""


class AugmenterWatch(keras.callbacks.Callback):
    """Add gradient ratios to the epoch's logs, and warn if the augmenter has collapsed.

    At the end of each epoch the logs gain `augmenter_collapsed`, 1 or 0, and `gradient_ratio/<term>`: the norm of the
    weighted term's gradient on the shared encoder, divided by that of the next-item loss, on one fixed batch. The
    first epoch of a collapse warns. Place this callback before those that read the logs (TensorBoard, CSVLogger).

    Args:
        batch: one training batch for the gradient ratios. Default: None, no ratios.

    Attributes:
        warning: the collapse after the last epoch with its likely cause; None if there is none.

    Example:
        >>> logs = {"keep_rate": 0.7, "delete_rate": 0.1}
        >>> AugmenterWatch().on_epoch_end(0, logs)
        >>> logs["augmenter_collapsed"]
        0.0
    """

    def __init__(self, batch: dict[str, tf.Tensor] | None = None) -> None:
        super().__init__()
        self.batch = batch
        self.warning: str | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Extend the logs, and warn if a collapse starts."""
        logs = {} if logs is None else logs
        if self.batch is not None:
            logs |= self.gradient_ratios()
        what, is_new = collapse(logs), self.warning is None
        self.warning = None
        if "keep_rate" in logs:
            logs["augmenter_collapsed"] = float(what is not None)
        if what:
            settings = self.model.get_config() if self.model is not None else None
            self.warning = f"Epoch {epoch + 1}: the augmenter {what}. {likely_cause(logs, settings)}"
            if is_new:
                warnings.warn(self.warning, AugmenterCollapseWarning, stacklevel=2)

    def gradient_ratios(self) -> dict[str, float]:
        """Return the gradient norm of each weighted term on the encoder, divided by that of the next-item loss."""
        variables = self.model.encoder.trainable_variables
        weights = self.model.term_weights
        with tf.GradientTape(persistent=True) as tape:
            terms, _ = self.model.losses_of(self.batch, training=False)
        norms = {
            name: weights[name] * float(tf.linalg.global_norm(tape.gradient(term, variables)))
            for name, term in terms.items()
        }
        base = norms.pop("next_item_loss", None)
        if not base:
            return {}
        return {f"gradient_ratio/{name}": norm / base for name, norm in norms.items()}


def collapse(logs: Mapping[str, float]) -> str | None:
    """Describe how the augmenter has collapsed, judging by its edits of real histories.

    Args:
        logs: logs of an epoch, of which `keep_rate`, `delete_rate`, `insert_rate` and `cut_rate` are read.

    Returns:
        The description, None if the augmenter has not collapsed.

    Example:
        >>> collapse({"keep_rate": 0.99, "delete_rate": 0.0})
        'keeps 99 % of the items: the learned view is the raw history'
        >>> collapse({"keep_rate": 0.7, "delete_rate": 0.1})
    """
    if logs.get("keep_rate", 0.0) > COLLAPSED_RATE:
        return f"keeps {100 * logs['keep_rate']:.0f} % of the items: the learned view is the raw history"
    if logs.get("delete_rate", 0.0) > COLLAPSED_RATE:
        return f"deletes {100 * logs['delete_rate']:.0f} % of the items: the learned view is empty"
    cut = logs.get("cut_rate", 0.0)
    lost = f"{100 * cut:.0f} % of the events do not fit into the learned view, which keeps max_edited_length items"
    if logs.get("insert_rate", 0.0) > HIGH_INSERT_RATE:
        what = (
            f"inserts items before {100 * logs['insert_rate']:.0f} % of the items: much of the learned view is invented"
        )
        return f"{what}, and {lost}" if cut > HIGH_CUT_RATE else what
    if cut > HIGH_CUT_RATE:
        return f"inserts too much for long histories: {lost}"
    return None


def likely_cause(logs: Mapping[str, float], settings: Mapping[str, Any] | None = None) -> str:
    """Describe the most likely cause of a collapse, and what to change.

    Args:
        logs: logs of an epoch, see `collapse`. `val_deletion_recall`, or else `deletion_recall` of the training
            batches, shows whether the augmenter repairs corrupted histories.
        settings: arguments of `LACLRec`, of which `lambda_aug`, `decision` and `decision_temperature` are read.
            Default: None, unknown.

    Example:
        >>> likely_cause({"keep_rate": 1.0}, {"lambda_aug": 0.0})
        'Likely cause: lambda_aug is 0, so its heads are not trained with the recommender. Set lambda_aug=0.03.'
    """
    settings = settings or {}
    if settings.get("lambda_aug") == 0:
        return "Likely cause: lambda_aug is 0, so its heads are not trained with the recommender. Set lambda_aug=0.03."
    if max(logs.get("keep_rate", 0.0), logs.get("delete_rate", 0.0)) <= COLLAPSED_RATE:
        if logs.get("insert_rate", 0.0) > HIGH_INSERT_RATE:
            return (
                "Likely cause: corrupted histories lack items before two in five of their items, and real ones look "
                "the same to it. Set max_insertions=1, or train the preset laclrec-no-insert."
            )
        if logs.get("cut_rate", 0.0) > HIGH_CUT_RATE:
            return "Likely cause: max_edited_length is too small for the insertions. Raise it, or lower max_insertions."
    recall = logs.get("val_deletion_recall", logs.get("deletion_recall"))
    if recall is None:
        return (
            "Likely causes: too little training of the augmenter (raise pretrain_epochs or lambda_aug), "
            "or a decision_temperature that is too low for decision=gumbel."
        )
    found = f"it deletes {100 * recall:.0f} % of the noise in corrupted histories"
    deletes_all = logs.get("delete_rate", 0.0) > COLLAPSED_RATE
    if not deletes_all and recall < LOW_RECALL:
        return f"Likely cause: it has learned little yet, {found}. Raise pretrain_epochs or lambda_aug."
    if deletes_all:
        return (
            f"Likely cause: it takes every item for noise ({found}, and everything else). "
            "Raise pretrain_epochs or lambda_aug, or lower learning_rate."
        )
    if settings.get("decision") == "gumbel" and settings.get("decision_temperature", 1.0) < 1:
        return "Likely cause: a decision_temperature below 1 leaves only the likeliest operation, KEEP. Raise it."
    remedy = "decision=gumbel samples edits that it is less sure of."
    if settings.get("decision") in ("gumbel", "noise"):
        remedy = "Raise decision_temperature, or lambda_aug."
    return f"Likely cause: it finds no noise in real histories, although {found}. {remedy}"


class PlantedNoiseWatch(keras.callbacks.Callback):
    """Record after each epoch how likely the augmenter is to delete each event of histories whose noise is known.

    It samples nothing, so the training is the same without it. One watch may be given to several `fit`s.

    Args:
        histories: per user `[n]` int32 ids, oldest first.
        is_noise: `[E]` bool, whether each event is noise, one history after the other. `planted_ids` makes both.

    Attributes:
        epochs: `Deletions` after each epoch so far.

    Example:
        >>> planted = planted_histories(data, "events.truth.csv")  # doctest: +SKIP
        >>> watch = PlantedNoiseWatch(*planted_ids(planted, data.vocabulary))  # doctest: +SKIP
        >>> model.fit(batches, epochs=3, callbacks=[watch])  # doctest: +SKIP
        >>> [each.summary()["recall"] for each in watch.epochs]  # doctest: +SKIP
        [0.0, 0.02, 0.11]
    """

    def __init__(self, histories: Sequence[np.ndarray], is_noise: np.ndarray) -> None:
        super().__init__()
        self.histories = histories
        self.is_noise = is_noise
        self.epochs: list[Deletions] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the deletions."""
        self.epochs.append(deletions_of(self.model, self.histories, self.is_noise))
