"""How well an augmenter repairs histories where the right edits are known: corrupted histories, and planted noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from laclrec_tf.data.batches import evaluation_dataset
from laclrec_tf.data.corruption import corrupt
from laclrec_tf.data.planted_noise import plant_noise
from laclrec_tf.metrics.detection import detection_quality, popularity_scores
from laclrec_tf.metrics.ranking import target_ranks
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.masking import is_item
from laclrec_tf.run_folder import RunFolder

HISTORIES_AT_ONCE = 256
# Share of planted noise among the events, where noise is planted to measure how well it is found.
PLANTED_RATE = 0.15


def repairs_of(
    model: LACLRec, histories: Sequence[np.ndarray], seed: int, popularity: np.ndarray | None = None
) -> Repairs:
    """Corrupt histories as in training and let the augmenter's heads repair them, also those of a calibrated model.

    Args:
        model: a model with an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        seed: seed of the corruption.
        popularity: see `corruption_arguments`. Default: None.
    """
    corruption = corruption_arguments(model, popularity)
    signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int64)]

    @tf.function(input_signature=signature, autograph=False)
    def repair(history: tf.Tensor, its_seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        corrupted, operations, insertions = corrupt(history, seed=its_seed, **corruption)
        repaired = model.augmenter.repair(model.encoder, corrupted, operations, insertions, training=False)
        item = repaired.run_targets <= model.n_items  # the others end a run
        scores = model.score(repaired.run_states[item])
        targets, present = repaired.run_targets[item], repaired.run_present[item]
        ranks = target_ranks(scores, targets, exclude=tf.where(present == targets[:, tf.newaxis], 0, present))
        logits = repaired.operation_logits
        real = is_item(corrupted)
        return ops.softmax(logits)[real], tf.argmax(logits, axis=-1)[real], operations[real], ranks

    found = [
        [part.numpy() for part in repair(history, tf.constant([seed, number], tf.int64))]
        for number, history in enumerate(history_batches(histories))
    ]
    return Repairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@dataclass(frozen=True)
class Repairs:
    """The augmenter's predictions on corrupted histories, and the operations that undo the corruption.

    Args:
        probabilities: `[E, 3]` float, the probability of each operation at each event.
        decided: `[E]` int, the likeliest operation.
        operations: `[E]` int, the operation that undoes the corruption.
        insertion_ranks: `[T]` int, the rank of each missing item from 0 over the catalogue without the items of the
            corrupted history, given the items of its run that follow it.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    operations: np.ndarray
    insertion_ranks: np.ndarray

    def __repr__(self) -> str:
        return f"Repairs({len(self.operations):,} events, {len(self.insertion_ranks):,} missing items)"


def corruption_arguments(model: LACLRec, popularity: np.ndarray | None = None) -> dict[str, Any]:
    """Return the arguments with which `laclrec_tf.data.corruption.corrupt` corrupts the model's training histories.

    Args:
        model: a model with an augmenter.
        popularity: `[N]` number of training events of each item, if the training draws inserted items by popularity,
            see `corruption_popularity`. Default: None, all items have equal weights.

    Example:
        >>> corruption_arguments(LACLRec(n_items=20, width=8))["p_delete"]
        0.45
    """
    needs = model.batch_requirements
    names = "n_items", "max_insertions", "p_keep", "p_delete"
    sizes = {name: needs[name] for name in names}
    return sizes | {"max_length": needs["max_edited_length"], "popularity": popularity}


def corruption_popularity(run: RunFolder) -> np.ndarray | None:
    """Return the weights with which the training of a run drew inserted items, or None if all were equal.

    Args:
        run: a run folder.

    Returns:
        `[N]` int64 number of training events of each item, or None.

    Raises:
        InputError: the popularity of the run cannot be read.
    """
    is_popular = run.record["settings"]["corruption_noise"] == "popular"
    return run.popularity if is_popular else None


def deletions_of(model: LACLRec, histories: Sequence[np.ndarray], is_noise: np.ndarray) -> Deletions:
    """Predict for every event whether it is deleted. Nothing is sampled, whatever the model's `decision`.

    Args:
        model: a model with an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        is_noise: `[E]` bool, whether each event is noise, one history after the other.

    Returns:
        The deletions of the same events, those of short histories first.

    Example:
        >>> deletions_of(LACLRec(n_items=20, width=8), [np.array([5, 6], np.int32)], np.array([True, False])).is_last
        array([False,  True])
    """
    order = np.argsort([len(history) for history in histories], kind="stable")
    starts = np.cumsum([0, *(len(history) for history in histories)])
    marks = np.concatenate([is_noise[starts[row] : starts[row + 1]] for row in order])
    item_ids = np.concatenate([histories[row] for row in order])
    ends = np.cumsum([len(histories[row]) for row in order])
    parts = []
    for history in history_batches(histories):
        found = model.deletions_of(history)
        real = history.numpy() > 0
        parts.append([ops.convert_to_numpy(part)[real] for part in found])
    probabilities, decided = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Deletions(probabilities, decided, marks, np.isin(np.arange(len(marks)), ends - 1), item_ids)


def planted_deletions(
    model: LACLRec, histories: Sequence[np.ndarray], popularity: np.ndarray, seed: int = 0
) -> Deletions:
    """Plant noise in histories, 15 % of the events and drawn by popularity, and predict what is deleted.

    Args:
        model: a model with an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        popularity: `[N]` number of training events of each item.
        seed: seed of the noise. Default: 0.

    Returns:
        The deletions; the last `max_length` events of each history count.
    """
    noisy, marks = plant_noise(histories, PLANTED_RATE, n_items=model.n_items, popularity=popularity, seed=seed)
    recent, is_noise = ([each[-model.max_length :] for each in parts] for parts in (noisy, marks))
    return deletions_of(model, recent, np.concatenate(is_noise))


@dataclass(frozen=True)
class Deletions:
    """The augmenter's deletions of events, and which events are noise.

    Args:
        probabilities: `[E]` float, the probability of DELETE.
        decided: `[E]` bool, whether the augmenter deletes the event.
        is_noise: `[E]` bool, whether the event is noise.
        is_last: `[E]` bool, whether the event is the last one of its history. Default: None, unknown.
        item_ids: `[E]` int, the events' items. Default: None, unknown.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    is_noise: np.ndarray
    is_last: np.ndarray | None = None
    item_ids: np.ndarray | None = None

    def quality(self, popularity: np.ndarray) -> dict[str, dict[str, float]]:
        """Return `detection_quality` of the probabilities as "augmenter", and of popularity alone as "popularity".

        Args:
            popularity: `[N]` number of training events of each item.
        """
        assert self.is_last is not None and self.item_ids is not None
        by_popularity = popularity_scores(np.asarray(popularity, np.float64)[self.item_ids - 1], self.is_noise)
        scores = {"augmenter": self.probabilities, "popularity": by_popularity}
        return {name: detection_quality(each, self.is_noise, self.is_last) for name, each in scores.items()}

    def summary(self) -> dict[str, float]:
        """Return precision and recall of the decisions, and those of as many deletions at random.

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
        # Events of equal probability share a threshold.
        last = np.append(np.diff(self.probabilities[order]) != 0, True)
        hits, misses = np.cumsum(noise)[last], np.cumsum(~noise)[last]
        return hits / (hits + misses), hits / max(1, noise.sum()), misses / max(1, np.sum(~noise))


def history_batches(histories: Sequence[np.ndarray]) -> Iterator[tf.Tensor]:
    """Yield batches of histories, `[B, L]` int32, the shortest first."""
    unused = np.ones(len(histories), np.int32)
    for batch in evaluation_dataset(histories, unused, batch_size=HISTORIES_AT_ONCE):
        yield batch["history"]
