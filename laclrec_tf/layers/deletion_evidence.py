"""The evidence that an event of a history is noise: what the recommender itself expects around it."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.ops.masking import history_lengths, is_item

# What each coefficient weighs, see `DeletionEvidence`.
COEFFICIENTS = (
    "bias",
    "after_1",
    "after_best",
    "before_1",
    "without_1",
    "before_2",
    "without_2",
    "log_popularity",
    "last",
    "last_after_best",
    "first",
    "first_before_1",
)
# Thresholds of a model that was not calibrated, and of one that deletes nothing; probabilities are from 0 to 1.
NOT_CALIBRATED, NO_DELETION = -1.0, 2.0


@keras.saving.register_keras_serializable(package="laclrec_tf")
class DeletionEvidence(keras.layers.Layer):
    """Log-odds that each event of a history is noise, by a logistic regression.

    `u_t` is the recommender's hidden state after event `x_t`, `p_i` the share of item `i` in the training events, and
    `s_t(i) = u_t E_i - logsumexp_k(u_t E_k) - log p_i`: how much likelier than by popularity item `i` follows. Then

        after_1    = s_{t-1}(x_t)                           the event fits what came before it
        after_best = the largest of s_{t-1}, s_{t-2}, s_{t-3} at x_t   the same, if events just before it are noise
        before_j   = s_t(x_{t+j}), j = 1, 2                 what follows fits after the event
        without_j  = s_{t-1}(x_{t+j}), j = 1, 2             what follows fits without the event

    and the logarithm of the item's popularity. A number that needs an event before the first or behind the last is 0.
    The last event has a bias and a weight of `after_best` of its own, the first event a bias and a weight of
    `before_1`.

    Args:
        n_items: Catalogue size `N`.
        **kwargs: Passed on to `keras.layers.Layer`.

    Attributes:
        coefficients: `[12]` variable, `COEFFICIENTS`.
        threshold: Scalar variable. An event is deleted if its probability is above it; -1 before a calibration, above 1
            to delete nothing.

    Call arguments:
        numbers: `[B, L, 12]` float, see `numbers`.

    Returns:
        `[B, L]` float32 log-odds; 0 on padding.

    Example:
        >>> evidence = DeletionEvidence(n_items=20)
        >>> history = ops.array([[5, 6, 7, 0]])
        >>> states, table = ops.ones([1, 4, 8]), ops.ones([23, 8])
        >>> numbers = evidence.numbers(history, states, ops.ones([1, 4]), table, log_popularity=ops.zeros([23]))
        >>> evidence(numbers).shape
        TensorShape([1, 4])

    Source: LACLRec (arXiv 2503.20232) deletes by a head that is trained on random insertions. Such a head learns which
    items are rare; this layer asks the recommender.
    """

    def __init__(self, n_items: int, **kwargs: Any) -> None:
        # Logarithms of small probabilities need float32, whatever the global policy.
        super().__init__(autocast=False, **({"dtype": "float32"} | kwargs))
        self.n_items = n_items

    def build(self, *shapes: Any) -> None:
        """Create the weights: coefficients of 0, not calibrated."""
        weight = {"dtype": "float32", "trainable": False}
        self.coefficients = self.add_weight(
            shape=(len(COEFFICIENTS),), initializer="zeros", name="coefficients", **weight
        )
        at_first = keras.initializers.Constant(NOT_CALIBRATED)
        self.threshold = self.add_weight(shape=(), initializer=at_first, name="threshold", **weight)
        self.built = True

    def call(self, numbers: KerasTensor) -> KerasTensor:
        """Return the log-odds `[B, L]`."""
        return ops.tensordot(numbers, self.coefficients, axes=1)

    def numbers(
        self,
        history: KerasTensor,
        hidden: KerasTensor,
        normalisers: KerasTensor,
        item_table: KerasTensor,
        log_popularity: KerasTensor,
    ) -> KerasTensor:
        """Return what the coefficients weigh.

        Args:
            history: `[B, L]` integer ids, right-padded with 0.
            hidden: `[B, L, D]` float hidden states of the causal pass.
            normalisers: `[B, L]` float, the `logsumexp` of each hidden state's scores over all items.
            item_table: `[N + 3, D]` float item vectors.
            log_popularity: `[N + 3]` float, see `EditMixture`.

        Returns:
            `[B, L, 12]` float32; 0 on padding.
        """
        hidden, history = ops.cast(hidden, "float32"), ops.cast(history, "int32")
        # Neither EOS nor MASK is an event; PAD is 0.
        real = ops.cast(ops.logical_and(is_item(history), history <= self.n_items), "float32")
        position = ops.arange(ops.shape(history)[1], dtype="int32")[None]
        first = real * ops.cast(position == 0, "float32")
        last = real * ops.cast(position == history_lengths(history)[:, None] - 1, "float32")
        vectors = ops.take(ops.convert_to_tensor(item_table), history, axis=0)  # [B, L, D]
        popularity = real * ops.take(ops.convert_to_tensor(log_popularity), history, axis=0)

        def fit(ahead: int) -> KerasTensor:
            """Return `s_t(x_{t + ahead})` at position t, 0 where there is no such event."""
            scores = ops.sum(hidden * _shifted(vectors, ahead), axis=-1) - normalisers
            return (scores - _shifted(popularity, ahead)) * _shifted(real, ahead)

        before, before_2, third = fit(1), fit(2), fit(3)
        after_1 = _shifted(before, -1)
        best = after_1
        for places, fits in ((2, _shifted(before_2, -2)), (3, _shifted(third, -3))):
            best = ops.where(position >= places, ops.maximum(best, fits), best)
        numbers = [ops.ones_like(real), after_1, best, before, _shifted(before_2, -1), before_2, _shifted(third, -1)]
        numbers += [popularity, last, last * best, first, first * before]
        return ops.stack(numbers, axis=-1) * real[..., None]

    def noise_level(
        self,
        history: KerasTensor,
        hidden: KerasTensor,
        typical_normaliser: KerasTensor,
        item_table: KerasTensor,
        log_popularity: KerasTensor,
    ) -> KerasTensor:
        """Return the share of noise that is expected among all events of a history but the last two.

        It is the mean of their probabilities, computed without scoring the catalogue: one number stands for the
        normalisers of all states.

        Args:
            history: `[B, L]` integer ids, right-padded with 0.
            hidden: `[B, L, D]` float hidden states of the causal pass.
            typical_normaliser: Scalar float, the mean normaliser, see `EditMixture`.
            item_table: `[N + 3, D]` float item vectors.
            log_popularity: `[N + 3]` float, see `EditMixture`.

        Returns:
            `[B]` float32, 0 for a history of two events or fewer.
        """
        normalisers = ops.broadcast_to(ops.convert_to_tensor(typical_normaliser), ops.shape(history))
        odds = self(self.numbers(history, hidden, normalisers, item_table, log_popularity))
        position = ops.arange(ops.shape(history)[1], dtype="int32")[None]
        counted = ops.logical_and(is_item(history), history <= self.n_items)  # neither EOS nor MASK
        counted = ops.logical_and(counted, position < history_lengths(history)[:, None] - 2)
        total = ops.sum(ops.where(counted, ops.sigmoid(odds), 0.0), axis=1)
        return total / ops.maximum(ops.sum(ops.cast(counted, "float32"), axis=1), 1.0)

    def compute_output_shape(self, numbers_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[B, L]`."""
        return numbers_shape[:-1]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {"n_items": self.n_items}


def _shifted(values: KerasTensor, ahead: int) -> KerasTensor:
    """Return at each position of `[B, L, ...]` the value `ahead` positions later, or 0 where there is none."""
    rest = [[0, 0]] * (len(values.shape) - 2)
    if ahead >= 0:
        return ops.pad(values, [[0, 0], [0, ahead], *rest])[:, ahead:]
    return ops.pad(values, [[0, 0], [-ahead, 0], *rest])[:, :ahead]
