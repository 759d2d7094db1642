"""Statistics of training: the views, the edits, and how well the augmenter repairs corrupted histories.

Each statistic is `(values, weights)`. Its mean over an epoch is `sum(values * weights) / sum(weights)`, which is exact
for batches of different sizes.
"""

from __future__ import annotations

from typing import TypeAlias

from keras import KerasTensor, ops

from laclrec_tf.layers.sequence_augmenter import Edits, Repair
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP
from laclrec_tf.ops.item_table import best_rows
from laclrec_tf.ops.masking import history_lengths, is_item

Tensors: TypeAlias = dict[str, KerasTensor]  # by name, such as a batch or the terms of the objective
Statistics: TypeAlias = dict[str, tuple[KerasTensor, KerasTensor | None]]  # values and weights by name; None: 1 each

VIEW_STATISTICS = (
    "similarity_raw_learned",
    "similarity_raw_random",
    "triplet_accuracy",
    "alignment",
    "uniformity",
    "keep_rate",
    "delete_rate",
    "insert_rate",
    "edited_length",
    "cut_rate",
)
REPAIR_STATISTICS = ("operation_accuracy", "deletion_precision", "deletion_recall", "insertion_accuracy")


def view_statistics(
    raw: KerasTensor, learned: KerasTensor, random: KerasTensor, history: KerasTensor, edits: Edits
) -> Statistics:
    """Describe the three views of a batch.

    Args:
        raw: `[B, D]` float user vectors of the raw histories.
        learned: `[B, D]` of the learned views.
        random: `[B, D]` of the random views.
        history: `[B, L]` integer ids of the raw histories.
        edits: The augmenter's decisions on `history`.

    Returns:
        By name: dot products raw-learned and raw-random; the share of histories where the first is larger;
        alignment (mean squared distance of the normalised learned and random views) and uniformity (log mean
        Gaussian potential of the normalised raw vectors), as in arXiv 2005.10242; rates of the three
        operations; mean edited length in items; the share of events that are not deleted, and that the learned view
        still lacks, because it would be too long.
    """
    raw, learned, random = (ops.cast(vectors, "float32") for vectors in (raw, learned, random))
    with_learned = ops.sum(raw * learned, axis=-1)
    with_random = ops.sum(raw * random, axis=-1)
    unit_raw, unit_learned, unit_random = (ops.normalize(v, axis=-1) for v in (raw, learned, random))
    batch = ops.shape(raw)[0]
    squared = ops.maximum(2.0 - 2.0 * ops.matmul(unit_raw, ops.transpose(unit_raw)), 0.0)
    pairs = ops.cast(batch * (batch - 1), squared.dtype)
    potential = (ops.sum(ops.exp(-2.0 * squared)) - ops.cast(batch, squared.dtype)) / ops.maximum(pairs, 1.0)
    real = ops.cast(is_item(history), "float32")
    statistics = {
        "similarity_raw_learned": (with_learned, None),
        "similarity_raw_random": (with_random, None),
        "triplet_accuracy": (ops.cast(with_learned > with_random, "float32"), None),
        "alignment": (ops.sum(ops.square(unit_learned - unit_random), axis=-1), None),
        "uniformity": (ops.log(ops.maximum(potential, 1e-12)), None),
        "edited_length": (ops.cast(history_lengths(edits.edited), "float32"), None),
        "cut_rate": _cut_rate(history, edits),
    }
    for name, operation in (("keep_rate", KEEP), ("delete_rate", DELETE), ("insert_rate", INSERT)):
        statistics[name] = (ops.cast(edits.operations == operation, "float32"), real)
    return statistics


def _cut_rate(history: KerasTensor, edits: Edits) -> tuple[KerasTensor, KerasTensor]:
    real = is_item(history)
    lengths = ops.cast(history_lengths(history), "float32")
    remaining = ops.logical_and(real, ops.logical_not(edits.operations == DELETE))
    remaining = ops.maximum(ops.sum(ops.cast(remaining, "float32"), axis=1), ops.minimum(lengths, 1.0))
    # No item of the history is inserted, so its items in the learned view are its events.
    edited = ops.cast(edits.edited, history.dtype)
    is_event = ops.any(edited[:, :, None] == ops.where(real, history, -1)[:, None, :], axis=-1)
    n_events = ops.sum(ops.cast(is_event, "float32"), axis=1)
    return (remaining - n_events) / ops.maximum(lengths, 1.0), lengths


def repair_statistics(
    repair: Repair,
    item_table: KerasTensor | None,
    corrupted: KerasTensor,
    operations: KerasTensor,
    max_targets: int | None = None,
) -> Statistics:
    """Return how well corrupted histories are repaired.

    Args:
        repair: The augmenter's outputs for `corrupted`.
        item_table: `[N + 3, D]` float. None: without insertion accuracy.
        corrupted: `[B, M]` integer ids.
        operations: `[B, M]` integer labels.
        max_targets: Max number of insertion targets to measure, because each costs a row of catalogue scores.
            Default: None, all.

    Returns:
        By name: operation accuracy; precision and recall of DELETE; the share of missing items (EOS included)
        that the generator inserts, given the run behind them.
    """
    real = ops.cast(is_item(corrupted), "float32")
    decided = ops.cast(ops.argmax(repair.operation_logits, axis=-1), operations.dtype)
    deletes = real * ops.cast(decided == DELETE, "float32")
    should_delete = real * ops.cast(operations == DELETE, "float32")
    statistics = {
        "operation_accuracy": (ops.cast(decided == operations, "float32"), real),
        "deletion_precision": (should_delete, deletes),
        "deletion_recall": (deletes, should_delete),
    }
    if item_table is not None:
        states, targets = repair.run_states[:max_targets], repair.run_targets[:max_targets]
        candidates = ops.convert_to_tensor(item_table)[1:-1]  # with EOS, without PAD and MASK
        present = ops.cast(repair.run_present[:max_targets], "int32")
        places = ops.where(is_item(present), present - 1, ops.shape(candidates)[0])
        best = best_rows(states, ops.cast(candidates, states.dtype), excluded=places)
        first = 1 + ops.cast(best, targets.dtype)
        statistics["insertion_accuracy"] = ops.cast(first == targets, "float32"), repair.run_weights[:max_targets]
    return statistics
