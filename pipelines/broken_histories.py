"""How a model's augmenter repairs histories that were broken as in training, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from keras import ops

from laclrec_tf.data.corruption import corrupt
from laclrec_tf.data.input_pipeline import evaluation_dataset
from laclrec_tf.metrics.ranking import target_ranks
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.masking import is_item

HISTORIES_AT_ONCE = 256


@dataclass(frozen=True)
class Repairs:
    """What the augmenter says of broken histories beside what is true.

    Args:
        probabilities: `[E, 3]` float, of each operation at each event.
        decided: `[E]` int, the likeliest operation.
        operations: `[E]` int, the one that undoes the breaking.
        insertion_ranks: `[T]` int, of each missing item from 0 over the catalogue, without what the broken history
            holds and given the run's items behind it.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    operations: np.ndarray
    insertion_ranks: np.ndarray

    def __repr__(self) -> str:
        return f"Repairs({len(self.operations):,} events, {len(self.insertion_ranks):,} missing items)"


def repairs_of(model: LACLRec, histories: Sequence[np.ndarray], seed: int) -> Repairs:
    """Break histories as in training and let the augmenter repair them.

    Args:
        model: has an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        seed: of the breaking.
    """
    needs = model.batch_requirements

    signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int64)]

    @tf.function(input_signature=signature, autograph=False)
    def repair(history: tf.Tensor, its_seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        corrupted, operations, insertions = corrupt(
            history,
            n_items=model.n_items,
            max_length=model.max_edited_length,
            max_insertions=model.max_insertions,
            p_keep=needs["p_keep"],
            p_delete=needs["p_delete"],
            seed=its_seed,
        )
        repaired = model.augmenter.repair(model.encoder, corrupted, operations, insertions, training=False)
        item = repaired.run_targets <= model.n_items  # the rest are ends of runs
        scores = model.score(repaired.run_states[item])
        ranks = target_ranks(scores, repaired.run_targets[item], exclude=repaired.run_present[item])
        logits = repaired.operation_logits
        real = is_item(corrupted)
        return ops.softmax(logits)[real], tf.argmax(logits, axis=-1)[real], operations[real], ranks

    found = [
        [part.numpy() for part in repair(history, tf.constant([seed, number], tf.int64))]
        for number, history in enumerate(history_batches(histories))
    ]
    return Repairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def history_batches(histories: Sequence[np.ndarray]) -> Iterator[tf.Tensor]:
    """Yield `[B, L]` int32 histories, the shortest first."""
    unused = np.zeros(len(histories), np.int32)
    for batch in evaluation_dataset(histories, unused, batch_size=HISTORIES_AT_ONCE):
        yield batch["history"]
