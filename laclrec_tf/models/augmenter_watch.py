"""A callback that watches the augmenter: gradient balance of the loss terms, and warnings on a collapse."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf

from laclrec_tf.errors import LACLRecWarning
from laclrec_tf.models.augmenter_collapse import collapse, likely_cause


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
