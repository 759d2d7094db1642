"""Recommending over the possible edits of a history: how much the prediction for each edit counts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.ops.masking import history_lengths

EDITS = ("none", "uniform", "learned")
NOT_CALIBRATED = -1
# The events that each variant of a history lacks, counted from the end. The first four are mixed, the others are read.
VARIANTS = ((), (1,), (2,), (1, 2), (1, 2, 3), (1, 2, 3, 4))
N_MIXED = 4
# The least length of a history that each variant leaves an event of.
_LEAST_LENGTHS = tuple(max(len(events) + 1, *events) if events else 0 for events in VARIANTS)
# The variants that say how well the last event and the one before it follow the events 1, 2 and 3 places earlier.
_BEFORE = ((1, 3, 4), (3, 4, 5))
_NUMBERS = ("after", "after_best", "log_popularity")
COEFFICIENTS = ("bias", *_NUMBERS, "noise_level", *(f"noise_level_{name}" for name in _NUMBERS), "both")
# Bounds of the log-odds of one event.
MIN_LOG_ODDS, MAX_LOG_ODDS = -8.0, 6.0
_NEVER = -1e9
_LEAST_PROBABILITY = 1e-37


@keras.saving.register_keras_serializable(package="laclrec_tf")
class EditMixture(keras.layers.Layer):
    """Mixes the predictions for a history and for its edits: without its last event, the one before it, or both.

    `P(i | h) = sum_v w_v softmax(u_v E)_i / sum_v w_v`. The history itself has the weight 1. The history without an
    event has the weight `exp(d)`, `d` the log-odds that the event misleads. The history without both events has
    the weight `exp(d_1 + d_2 + both)`. An edit that would leave no event has the weight 0.

    With `edits="uniform"` all events have the same log-odds. With `edits="learned"` they are

        d   = (1, r) A (1, after, after_best, log p_x)^T,  A [2, 4]
        s_j = log softmax(u_j E)_x - log p_x,  j = 1, 2, 3

    of an event `x`, with `u_j` the user vector up to the `j`-th event before it, and `p_x` the share of `x` in the
    training events. `s_j` says how much likelier than by popularity the recommender itself expects `x` there; `after`
    is the mean and `after_best` the largest of the `s_j` that exist, or 0. `r` is the history's noise level, see
    `DeletionEvidence.noise_level`: an odd event misleads more probably in a noisy history than in a clean one.

    Args:
        n_items: Catalogue size `N`.
        **kwargs: Passed on to `keras.layers.Layer`.

    Attributes:
        log_popularity: `[N + 3]` variable, `log p`. Initially all items are equally popular.
        typical_normaliser: Scalar variable, the mean `logsumexp_k(u E_k)`. It stands for that of the variants that are
            read and not mixed, so that these need no scores of the catalogue.
        uniform: `[2]` variable, the log-odds of each event and `both` of "uniform".
        learned: `[9]` variable, `COEFFICIENTS` of "learned": the rows of `A`, and `both`.
        choice: Scalar variable, the index in `EDITS` of what calibration chose; -1 before a calibration.

    Call arguments:
        scores: `[B, 4, N]` float32 scores of all items for each of the mixed `VARIANTS`, see `LACLRec.edit_vectors`.
        event_scores: `[B, V, 2]` float32 scores of `last_events` for all `VARIANTS`; read with "learned" only.
        history: `[B, L]` integer ids, right-padded with 0.
        noise_level: `[B]` float32; read with "learned" only.
        edits: "uniform" or "learned".

    Returns:
        `[B, N]` float32, the mixed probabilities.

    Example:
        >>> mixture = EditMixture(n_items=2)
        >>> mixture.build()
        >>> scores = ops.log(ops.array([[[0.5, 0.5], [0.2, 0.8], [0.2, 0.8], [1.0, 1e-9]]]))
        >>> mixed = mixture(scores, ops.zeros([1, 4, 2]), ops.array([[1, 2]]), ops.zeros(1), edits="uniform")
        >>> mixed.numpy().round(4).tolist()
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
        self.typical_normaliser = weight("typical_normaliser", (), value=np.log(self.n_items))
        self.uniform = weight("uniform", (2,))
        self.learned = weight("learned", (len(COEFFICIENTS),))
        self.choice = weight("choice", (), dtype="int32", value=NOT_CALIBRATED)
        self.built = True

    def call(
        self, scores: KerasTensor, event_scores: KerasTensor, history: KerasTensor, noise_level: KerasTensor, edits: str
    ) -> KerasTensor:
        """Return the mixed probabilities."""
        probabilities = ops.softmax(scores)
        columns = ops.clip(self.last_events(history) - 1, 0, self.n_items - 1)[:, None]  # [B, 1, 2]
        of_mixed = ops.log(ops.maximum(ops.take_along_axis(probabilities, columns, axis=2), _LEAST_PROBABILITY))
        weights = self.weights_of(self.log_probabilities(of_mixed, event_scores), history, noise_level, edits)
        return ops.matmul(weights[:, None], probabilities)[:, 0]

    def log_probabilities(self, of_mixed: KerasTensor, event_scores: KerasTensor) -> KerasTensor:
        """Return the log-probabilities `[B, V, 2]` of the last two events for all variants.

        Args:
            of_mixed: `[B, 4, 2]` float32, those for the mixed variants.
            event_scores: `[B, V, 2]` float32, see the call arguments.
        """
        return ops.concatenate([of_mixed, event_scores[:, N_MIXED:] - self.typical_normaliser], axis=1)

    def weights_of(
        self, log_probabilities: KerasTensor, history: KerasTensor, noise_level: KerasTensor, edits: str
    ) -> KerasTensor:
        """Return the weights `[B, 4]` of the mixed variants; their sum is 1.

        Args:
            log_probabilities: `[B, V, 2]` float32, see the method of that name.
            history: `[B, L]` integer ids, right-padded with 0.
            noise_level: `[B]` float32.
            edits: "uniform" or "learned"; only `history` is read for "uniform".
        """
        if edits == "learned":
            numbers = self.numbers(log_probabilities, history, noise_level)
            odds = self.learned[0] + ops.tensordot(numbers, self.learned[1:-1], axes=1)
            both = self.learned[-1]
        else:
            odds = ops.broadcast_to(self.uniform[0], (ops.shape(history)[0], 2))
            both = self.uniform[1]
        odds = ops.clip(odds, MIN_LOG_ODDS, MAX_LOG_ODDS)
        weights = ops.stack([ops.zeros_like(odds[:, 0]), odds[:, 0], odds[:, 1], ops.sum(odds, axis=1) + both], axis=1)
        return ops.softmax(ops.where(self.exists(history)[:, :N_MIXED], weights, _NEVER))

    def last_events(self, history: KerasTensor) -> KerasTensor:
        """Return the last event of each history and the one before it, `[B, 2]` int32, PAD where there is none."""
        places = history_lengths(history)[:, None] - ops.array([1, 2], "int32")
        items = ops.cast(ops.take_along_axis(history, ops.maximum(places, 0), axis=1), "int32")
        return ops.where(places >= 0, items, PAD_ID)

    def exists(self, history: KerasTensor) -> KerasTensor:
        """Return `[B, 6]` bool: False where a variant would leave no event, or lacks one that the history has not."""
        return history_lengths(history)[:, None] >= ops.array(_LEAST_LENGTHS, "int32")

    def numbers(self, log_probabilities: KerasTensor, history: KerasTensor, noise_level: KerasTensor) -> KerasTensor:
        """Return what `learned` weighs, the `COEFFICIENTS` between `bias` and `both`, for the last two events.

        Args:
            log_probabilities: `[B, 6, 2]` float32, see the method of that name.
            history: `[B, L]` integer ids, right-padded with 0.
            noise_level: `[B]` float32.

        Returns:
            `[B, 2, 7]` float32, the last event first; 0 for an event that a history does not have.
        """
        events, exists = self.last_events(history), self.exists(history)
        has_event = ops.logical_and(events != PAD_ID, events <= self.n_items)  # not EOS, not MASK
        popularity = ops.where(has_event, ops.take(self.log_popularity, events, axis=0), 0.0)  # [B, 2]
        found = []
        for event, before in enumerate(_BEFORE):
            places = ops.array(before, "int32")
            is_known = ops.logical_and(ops.take(exists, places, axis=1), has_event[:, event : event + 1])  # [B, 3]
            fits = ops.take(log_probabilities[:, :, event], places, axis=1) - popularity[:, event : event + 1]
            n_known = ops.sum(ops.cast(is_known, "float32"), axis=1)
            mean = ops.sum(ops.where(is_known, fits, 0.0), axis=1) / ops.maximum(n_known, 1.0)
            best = ops.max(ops.where(is_known, fits, _NEVER), axis=1, initial=_NEVER)  # also of no rows
            found.append(ops.stack([mean, ops.where(n_known > 0, best, 0.0), popularity[:, event]], axis=1))
        numbers = ops.stack(found, axis=1)  # [B, 2, 3]
        level = ops.where(has_event, noise_level[:, None], 0.0)[..., None]
        return ops.concatenate([numbers, level, level * numbers], axis=2)

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
