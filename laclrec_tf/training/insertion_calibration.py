"""Calibrate where the augmenter inserts items: choose the probability of INSERT that is sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.data.corruption import corrupt
from laclrec_tf.evaluation.augmenter_repairs import corruption_arguments, history_batches
from laclrec_tf.layers.sequence_augmenter import NO_INSERTION
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import INSERT, KEEP
from laclrec_tf.ops.masking import is_item

MIN_PRECISION = 0.5


def calibrate_insertions(
    model: LACLRec, histories: Sequence[np.ndarray], popularity: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Choose the model's `insertion_threshold` and set it.

    The histories are corrupted as in training. The threshold is the lowest one at which, in half of the places where
    items would be inserted, items were removed, and at which items are inserted in no larger share of the places than
    the corruption removed some before, neither in corrupted nor in unchanged histories. If there is none, nothing is
    inserted.

    Args:
        model: trained model with an augmenter; only its `insertion_threshold` changes.
        histories: per user `[n]` integer ids, oldest first.
        popularity: see `corruption_arguments`. Default: None.
        seed: seed of the corruption. Default: 0.

    Returns:
        `threshold`, above 1 if nothing is inserted; `prior`, the share of places in the corrupted histories where items
        were removed; at the threshold `precision` and `recall` of the places, and `rate`, the share of places in the
        unchanged histories where items are inserted.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> model = build_preset("laclrec", n_items=30, width=8)
        >>> found = calibrate_insertions(model, [np.arange(1, 9)] * 50)
        >>> found["rate"] <= found["prior"]
        True
    """
    corruption = corruption_arguments(model, popularity)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def probabilities_of(history: tf.Tensor) -> tf.Tensor:
        logits = model.augmenter(model.augmenter.encode(model.encoder, history, training=False))
        return tf.sigmoid(logits[..., INSERT] - logits[..., KEEP])[is_item(history)]

    of_corrupted, removed, of_raw = [], [], []
    for number, history in enumerate(history_batches(histories)):
        corrupted, operations, _ = corrupt(history, seed=tf.constant([seed, number], tf.int64), **corruption)
        of_corrupted.append(probabilities_of(corrupted).numpy())
        removed.append((operations == INSERT)[is_item(corrupted)].numpy())
        of_raw.append(probabilities_of(history).numpy())
    found = choose_insertion_threshold(*(np.concatenate(parts) for parts in (of_corrupted, removed, of_raw)))
    set_insertions(model, found)
    return found


def set_insertions(model: LACLRec, found: dict[str, Any]) -> None:
    """Set the model's `insertion_threshold`.

    Args:
        model: a model with an augmenter.
        found: result of `calibrate_insertions`, also for a model that was trained with the same settings.
    """
    model.augmenter.insertion_threshold.assign(found["threshold"])


def choose_insertion_threshold(of_corrupted: np.ndarray, removed: np.ndarray, of_raw: np.ndarray) -> dict[str, float]:
    """Choose the lowest threshold that is sure enough, see `calibrate_insertions`.

    Args:
        of_corrupted: `[E]` float, probability of INSERT at the places of corrupted histories.
        removed: `[E]` bool, whether items were removed there.
        of_raw: `[F]` float, probability of INSERT at the places of unchanged histories.

    Returns:
        `threshold`, `prior`, `precision`, `recall` and `rate`.

    Example:
        >>> probabilities = np.array([0.9, 0.8, 0.7, 0.2])
        >>> choose_insertion_threshold(probabilities, np.array([True, False, False, True]), probabilities)["threshold"]
        0.7
    """
    prior = float(np.mean(removed))
    for threshold in np.round(np.arange(0, 1, 0.01), 2):
        inserts = of_corrupted > threshold
        if not inserts.any():
            break
        precision, rate = float(np.mean(removed[inserts])), float(np.mean(of_raw > threshold))
        if precision >= MIN_PRECISION and max(rate, np.mean(inserts)) <= prior:
            recall = float(np.mean(inserts[removed]))
            return {
                "threshold": float(threshold),
                "prior": prior,
                "precision": precision,
                "recall": recall,
                "rate": rate,
            }
    return {"threshold": NO_INSERTION, "prior": prior, "recall": 0.0, "rate": 0.0}
