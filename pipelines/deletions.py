"""How well deletions find noise, where it is known which events are noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import DELETE
from pipelines.broken_histories import history_batches


@dataclass(frozen=True)
class Deletions:
    """How likely the augmenter finds it that each event is noise, and whether it is.

    Args:
        probabilities: `[E]` float, of DELETE.
        decided: `[E]` bool, the augmenter deletes the event.
        is_noise: `[E]` bool, the truth.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    is_noise: np.ndarray

    def summary(self) -> dict[str, float]:
        """Return precision and recall of the decisions, and of as many deletions drawn at random.

        Example:
            >>> marks = np.array([True, True, False, False])
            >>> Deletions(np.zeros(4), np.array([True, False, False, False]), marks).summary()["recall"]
            0.5
        """
        hits = float(np.sum(self.decided & self.is_noise))
        n_noise, n_deleted, n_events = int(self.is_noise.sum()), int(self.decided.sum()), len(self.is_noise)
        return {
            "events": n_events,
            "noise_events": n_noise,
            "deleted_events": n_deleted,
            "precision": hits / n_deleted if n_deleted else float("nan"),
            "recall": hits / n_noise if n_noise else float("nan"),
            "good_lost": (n_deleted - hits) / max(1, n_events - n_noise),
            "precision_at_random": n_noise / max(1, n_events),
            "recall_at_random": n_deleted / max(1, n_events),
        }

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return precision, recall and the share of good events lost at every threshold: three `[T]` arrays.

        Example:
            >>> precision, recall, lost = Deletions(np.array([0.9, 0.2]), np.zeros(2), np.array([1, 0])).curve()
            >>> precision.tolist(), recall.tolist(), lost.tolist()
            ([1.0, 0.5], [1.0, 1.0], [0.0, 1.0])
        """
        order = np.argsort(-self.probabilities, kind="stable")
        noise = np.asarray(self.is_noise, bool)[order]
        # Events that are equally likely noise go together.
        last = np.append(np.diff(self.probabilities[order]) != 0, True)
        hits, misses = np.cumsum(noise)[last], np.cumsum(~noise)[last]
        return hits / (hits + misses), hits / max(1, noise.sum()), misses / max(1, np.sum(~noise))


def deletions_of(model: LACLRec, histories: Sequence[np.ndarray], is_noise: np.ndarray) -> Deletions:
    """Ask the augmenter for the likeliest operation on every event; nothing is drawn, whatever the model's `decision`.

    Args:
        model: has an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        is_noise: `[E]` bool, the truth about their events, one history after the other.

    Returns:
        The same events, those of short histories first.
    """
    order = np.argsort([len(history) for history in histories], kind="stable")
    starts = np.cumsum([0, *(len(history) for history in histories)])
    marks = np.concatenate([is_noise[starts[row] : starts[row + 1]] for row in order])
    probabilities = []
    for history in history_batches(histories):
        logits = model.augmenter(model.augmenter.encode(model.encoder, history, training=False))
        probabilities.append(ops.convert_to_numpy(ops.softmax(logits))[history.numpy() > 0])
    of_each = np.concatenate(probabilities)
    return Deletions(of_each[:, DELETE], np.argmax(of_each, axis=-1) == DELETE, marks)
