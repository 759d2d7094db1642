"""A callback that watches the augmenter: gradient balance of the loss terms, and warnings on a collapse."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf

NEARLY_ALL = 0.98


class AugmenterCollapseWarning(UserWarning):
    """The augmenter keeps everything or deletes everything, so the learned view teaches nothing."""


class AugmenterWatch(keras.callbacks.Callback):
    """Add gradient ratios to the epoch's logs, and warn when the augmenter has collapsed.

    At the end of each epoch the logs gain `gradient_ratio/<term>`: the norm of the weighted term's gradient on
    the shared encoder, relative to that of the next-item loss, on one fixed batch. Place this callback before
    those that read the logs (TensorBoard, CSVLogger).

    Args:
        batch: one training batch. Default: None, no gradient ratios.

    Example:
        >>> AugmenterWatch().collapse({"keep_rate": 1.0, "delete_rate": 0.0})
        'keeps 100 % of the items: the learned view is the raw history'
    """

    def __init__(self, batch: dict[str, tf.Tensor] | None = None) -> None:
        super().__init__()
        self.batch = batch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Extend the logs and warn on a collapse."""
        logs = {} if logs is None else logs
        if self.batch is not None:
            logs |= self.gradient_ratios()
        what = self.collapse(logs)
        if what:
            warnings.warn(
                f"Epoch {epoch + 1}: the augmenter {what}. Likely causes: too few epochs of augmenter training "
                "(raise pretrain_epochs or lambda_aug) or a temperature that is too low for 'gumbel' decisions.",
                AugmenterCollapseWarning,
                stacklevel=2,
            )

    def collapse(self, logs: dict[str, Any]) -> str | None:
        """Say how the augmenter has collapsed, judging by the epoch's operation rates; None if it has not."""
        if logs.get("keep_rate", 0.0) > NEARLY_ALL:
            return f"keeps {logs['keep_rate']:.0%} of the items: the learned view is the raw history".replace("%", " %")
        if logs.get("delete_rate", 0.0) > NEARLY_ALL:
            return f"deletes {logs['delete_rate']:.0%} of the items: the learned view is empty".replace("%", " %")
        return None

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
