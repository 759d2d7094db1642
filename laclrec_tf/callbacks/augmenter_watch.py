"""Whether an augmenter has collapsed, judging by an epoch's logs, and the likely cause."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from laclrec_tf.errors import LACLRecWarning

NEARLY_ALL = 0.98
# Of the noise in broken histories, which is random: an augmenter that has learnt anything finds more.
LITTLE_FOUND = 0.1


def collapse(logs: Mapping[str, float]) -> str | None:
    """Say how the augmenter has collapsed, judging by the operation rates on real histories; None if it has not.

    Args:
        logs: an epoch's, `keep_rate` and `delete_rate` are read.

    Example:
        >>> collapse({"keep_rate": 0.99, "delete_rate": 0.0})
        'keeps 99 % of the items: the learned view is the raw history'
        >>> collapse({"keep_rate": 0.7, "delete_rate": 0.1})
    """
    if logs.get("keep_rate", 0.0) > NEARLY_ALL:
        return f"keeps {100 * logs['keep_rate']:.0f} % of the items: the learned view is the raw history"
    if logs.get("delete_rate", 0.0) > NEARLY_ALL:
        return f"deletes {100 * logs['delete_rate']:.0f} % of the items: the learned view is empty"
    return None


def likely_cause(logs: Mapping[str, float], settings: Mapping[str, Any] | None = None) -> str:
    """Say why an augmenter has most likely collapsed, and what to change.

    Args:
        logs: an epoch's; `val_deletion_recall`, or `deletion_recall` of the training batches, tells whether the
            augmenter repairs broken histories.
        settings: `LACLRec`'s arguments; `lambda_aug`, `decision` and `decision_temperature` are read. Default: unknown.

    Example:
        >>> likely_cause({"keep_rate": 1.0}, {"lambda_aug": 0.0})
        'Likely cause: lambda_aug is 0, so its heads are not trained beside the recommender. Set lambda_aug=0.03.'
    """
    settings = settings or {}
    if settings.get("lambda_aug") == 0:
        return (
            "Likely cause: lambda_aug is 0, so its heads are not trained beside the recommender. Set lambda_aug=0.03."
        )
    found = logs.get("val_deletion_recall", logs.get("deletion_recall"))
    if found is None:
        return (
            "Likely causes: too little training of the augmenter (raise pretrain_epochs or lambda_aug), "
            "or a decision_temperature that is too low for decision=gumbel."
        )
    found_text = f"it deletes {100 * found:.0f} % of the noise in broken histories"
    deletes_all = logs.get("delete_rate", 0.0) > NEARLY_ALL
    if not deletes_all and found < LITTLE_FOUND:
        return f"Likely cause: it has learnt little yet, {found_text}. Raise pretrain_epochs or lambda_aug."
    if deletes_all:
        return (
            f"Likely cause: it takes every item for noise ({found_text}, and all else with it). "
            "Raise pretrain_epochs or lambda_aug, or lower learning_rate."
        )
    if settings.get("decision") == "gumbel" and settings.get("decision_temperature", 1.0) < 1:
        return "Likely cause: a decision_temperature below 1 leaves only the likeliest operation, KEEP. Raise it."
    remedy = "decision=gumbel draws edits it is less sure of."
    if settings.get("decision") in ("gumbel", "noise"):
        remedy = "Raise decision_temperature, or lambda_aug."
    return f"Likely cause: real histories look whole to it, though {found_text}. {remedy}"


class AugmenterCollapseWarning(LACLRecWarning):
    """The augmenter keeps everything or deletes everything, so the learned view teaches nothing."""


class AugmenterWatch(keras.callbacks.Callback):
    """Add gradient ratios to the epoch's logs, and warn when the augmenter has collapsed.

    At the end of each epoch the logs gain `gradient_ratio/<term>`: the norm of the weighted term's gradient on
    the shared encoder, relative to that of the next-item loss, on one fixed batch; and `augmenter_collapsed`, 1 or 0.
    A collapse warns in its first epoch. Place this callback before those that read the logs (TensorBoard, CSVLogger).

    Args:
        batch: one training batch. Default: None, no gradient ratios.

    Attributes:
        warning: what is wrong after the last epoch, with its likely cause; None when nothing is.

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
        """Extend the logs and warn on a collapse."""
        logs = {} if logs is None else logs
        if self.batch is not None:
            logs |= self.gradient_ratios()
        what, begins = collapse(logs), self.warning is None
        self.warning = None
        if "keep_rate" in logs:
            logs["augmenter_collapsed"] = float(what is not None)
        if what:
            settings = self.model.get_config() if self.model is not None else None
            self.warning = f"Epoch {epoch + 1}: the augmenter {what}. {likely_cause(logs, settings)}"
            if begins:
                warnings.warn(self.warning, AugmenterCollapseWarning, stacklevel=2)

    def gradient_ratios(self) -> dict[str, float]:
        """Return each weighted term's gradient norm on the encoder relative to the next-item loss's."""
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
