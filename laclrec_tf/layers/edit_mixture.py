"""Recommending over the possible edits of a history: how much the prediction for each edit counts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from laclrec_tf.ops.edits import without_last_events
from laclrec_tf.ops.masking import history_lengths

EDITS = ("none", "uniform", "learned")
NOT_CALIBRATED = -1
# The events that each variant of a history lacks, counted from the end. The first four are mixed, the others are read.
VARIANTS = ((), (1,), (2,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
N_MIXED = 4
# The variants that say how well the last event and the one before it follow the events 1, 2 and 3 places earlier.
_BEFORE = ((1, 3, 4), (3, 4, 5))
COEFFICIENTS = ("bias", "after_1", "after_2", "after_3", "log_popularity", "both")
# Bounds of the log-odds of one event.
MIN_LOG_ODDS, MAX_LOG_ODDS = -8.0, 6.0
_NEVER = -1e9


@keras.saving.register_keras_serializable(package="laclrec_tf")
class EditMixture(keras.layers.Layer):
    """Mixes the predictions for a history and for its edits: without its last event, the one before it, or both.

    `P(i | h) = sum_v w_v softmax(u(h_v) E)_i / sum_v w_v`. The history itself has the weight 1. The history without an
    event has the weight `exp(d)`, `d` the log-odds that the event misleads. The history without both events has
    the weight `exp(d_1 + d_2 + both)`. An edit that would leave no event has the weight 0.

    With `edits="uniform"` all events have the same log-odds. With `edits="learned"` they are

        d = bias + sum_{j=1..3} a_j (log softmax(u(h_j) E)_x - log p_x) + b log p_x

    of an event `x`, with `h_j` the history up to the `j`-th event before it, and `p_x` the share of `x` in the training
    events. The sum asks how much likelier than by popularity the recommender itself expects `x` there. A term is 0
    where there is no such event.

    Args:
        n_items: Catalogue size `N`.
        **kwargs: Passed on to `keras.layers.Layer`.

    Attributes:
        log_popularity: `[N + 3]` variable, `log p`. Initially all items are equally popular.
        uniform: `[2]` variable, the log-odds of each event and `both` of "uniform".
        learned: `[6]` variable, `COEFFICIENTS` of "learned".
        choice: Scalar variable, the index in `EDITS` of what calibration chose; -1 before a calibration.

    Call arguments:
        log_probabilities: `[B, V, N]` float32 log-softmax of each variant in the order of `variants`.
        history: `[B, L]` integer ids, right-padded with 0.
        exists: `[B, V]` bool, see `variants`.
        edits: "uniform" or "learned".

    Returns:
        `[B, N]` float32, logarithms of the mixed probabilities.

    Example:
        >>> mixture = EditMixture(n_items=2)
        >>> mixture.build()
        >>> history = ops.array([[1, 2, 0]])
        >>> variants, exists = mixture.variants(history, edits="uniform")
        >>> variants.numpy().tolist(), exists.numpy().tolist()
        ([[[1, 2, 0], [1, 0, 0], [2, 0, 0], [1, 2, 0]]], [[True, True, True, False]])
        >>> predictions = ops.log(ops.array([[[0.5, 0.5], [0.2, 0.8], [0.2, 0.8], [1.0, 1e-9]]]))
        >>> ops.exp(mixture(predictions, history, exists, edits="uniform")).numpy().round(4).tolist()
        [[0.30000001192092896, 0.699999988079071]]

    Source: the augmenter of LACLRec (arXiv 2503.20232) deletes the events that look like noise. The mixture does so in
    proportion to the odds, because no decision is sure.
    """

    def __init__(self, n_items: int, **kwargs: Any) -> None:
        # Logarithms of small probabilities need float32, whatever the global policy.
        super().__init__(autocast=False, **({"dtype": "float32"} | kwargs))
        self.n_items = n_items

    def build(self, *shapes: Any) -> None:
        """Create the weights. At first no event is likelier to mislead than not, and nothing is chosen."""

        def weight(name: str, shape: tuple[int, ...], dtype: str = "float32", value: float = 0.0) -> keras.Variable:
            initializer = keras.initializers.Constant(value)
            return self.add_weight(shape=shape, initializer=initializer, dtype=dtype, trainable=False, name=name)

        self.log_popularity = weight("log_popularity", (self.n_items + 3,), value=-np.log(self.n_items))
        self.uniform = weight("uniform", (2,))
        self.learned = weight("learned", (len(COEFFICIENTS),))
        self.choice = weight("choice", (), dtype="int32", value=NOT_CALIBRATED)
        self.built = True

    def variants(self, history: KerasTensor, edits: str) -> tuple[KerasTensor, KerasTensor]:
        """Return the variants of histories that `edits` needs a prediction for.

        Args:
            history: `[B, L]` integer ids, right-padded with 0.
            edits: "uniform" or "learned".

        Returns:
            `(variants [B, V, L], exists [B, V])`; `V` is 4 or 6. The first variant is the history itself. Where
            `exists` is False the edit would leave no event, and the row is the history.
        """
        return without_last_events(history, VARIANTS[:N_MIXED] if edits == "uniform" else VARIANTS)

    def call(
        self, log_probabilities: KerasTensor, history: KerasTensor, exists: KerasTensor, edits: str
    ) -> KerasTensor:
        """Return the logarithms of the mixed probabilities."""
        if edits == "learned":
            numbers = self.numbers(log_probabilities, history, exists)
            odds = self.learned[0] + ops.tensordot(numbers, self.learned[1:-1], axes=1)
            both = self.learned[-1]
        else:
            odds = ops.broadcast_to(self.uniform[0], (ops.shape(history)[0], 2))
            both = self.uniform[1]
        odds = ops.clip(odds, MIN_LOG_ODDS, MAX_LOG_ODDS)
        weights = ops.stack([ops.zeros_like(odds[:, 0]), odds[:, 0], odds[:, 1], ops.sum(odds, axis=1) + both], axis=1)
        weights = ops.log_softmax(ops.where(exists[:, :N_MIXED], weights, _NEVER), axis=1)
        return ops.logsumexp(log_probabilities[:, :N_MIXED] + weights[..., None], axis=1)

    def numbers(self, log_probabilities: KerasTensor, history: KerasTensor, exists: KerasTensor) -> KerasTensor:
        """Return what `learned` weighs, `after_1` to `log_popularity`, for the last two events.

        Returns:
            `[B, 2, 4]` float32, the last event first; 0 for an event that a history does not have.
        """
        lengths = history_lengths(history)
        found = []
        for event, before in enumerate(_BEFORE):
            place = ops.maximum(lengths - 1 - event, 0)[:, None]
            item = ops.cast(ops.take_along_axis(history, place, axis=1), "int32")  # [B, 1]
            popularity = ops.take(self.log_popularity, item, axis=0)
            column = ops.clip(item - 1, 0, self.n_items - 1)[..., None]
            each = [ops.take_along_axis(log_probabilities[:, v : v + 1], column, axis=2)[..., 0] for v in before]
            fits = [ops.where(exists[:, v : v + 1], fit - popularity, 0.0) for v, fit in zip(before, each, strict=True)]
            has_event = ops.logical_and((lengths > event)[:, None], item <= self.n_items)  # not EOS, not MASK
            found.append(ops.where(has_event, ops.concatenate([*fits, popularity], axis=1), 0.0))
        return ops.stack(found, axis=1)

    def set_popularity(self, counts: np.ndarray) -> None:
        """Set `log_popularity` from `[N]` numbers of training events; an item without events counts as half of one."""
        shares = np.log(np.maximum(counts, 0.5) / max(np.sum(counts), 1))
        self.log_popularity.assign(np.pad(shares, (1, 2), constant_values=shares.min()).astype(np.float32))

    def compute_output_shape(self, shape: tuple[int | None, ...], *_: Any, **__: Any) -> tuple[int | None, ...]:
        """Return `[B, N]`."""
        return (shape[0], shape[2])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {"n_items": self.n_items}
