"""Stop a training whose loss or weights are no longer finite, before a broken epoch is recorded."""

from __future__ import annotations

import math
from typing import Any

import keras

from laclrec_tf.ops.finite import nonfinite_weight

CHECKED_STEPS = 10


class TrainingDivergedError(ValueError):
    """The loss or a weight is not finite. The message names the epoch and what is not finite."""


class StopOnDivergence(keras.callbacks.Callback):
    """Raise an error at the first loss or weight that is not finite.

    The running mean of the loss is read every few steps, because reading it makes an accelerator wait. The weights are
    checked at the end of each epoch. Place this callback first: then no other callback sees a broken epoch, so
    `EarlyStopping` and `ModelCheckpoint` keep the weights of the best epoch before it.

    Args:
        every: Number of steps between two checks of the loss. Default: 10.

    Raises:
        TrainingDivergedError: The loss or a weight is NaN or infinite.

    Example:
        >>> StopOnDivergence().on_train_batch_end(0, {"loss": 2.5})
        >>> StopOnDivergence().on_train_batch_end(0, {"loss": float("nan")})
        Traceback (most recent call last):
        laclrec_tf.callbacks.divergence.TrainingDivergedError: The loss is nan in epoch 1, at step 1 or shortly before.
    """

    def __init__(self, every: int = CHECKED_STEPS) -> None:
        super().__init__()
        self.every = every
        self._epoch = 0
        self._next = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the number of the epoch."""
        self._epoch, self._next = epoch, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss."""
        if batch >= self._next:
            self._next = batch + self.every
            self._check_loss(logs, f", at step {batch + 1} or shortly before")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss and the weights."""
        self._check_loss(logs, "")
        broken = nonfinite_weight(self.model.weights)
        if broken is not None:
            raise TrainingDivergedError(f"The weight {broken} holds NaN or inf after epoch {epoch + 1}.")

    def _check_loss(self, logs: dict[str, Any] | None, where: str) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingDivergedError(f"The loss is {loss} in epoch {self._epoch + 1}{where}.")
