"""What a run's augmenter makes of real histories: how much it edits, and which items it deletes and inserts most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits
from pipelines.broken_histories import history_batches
from pipelines.likeliest_edits import likeliest_edits

MOST_SHOWN = 10


def augmenter_habits(model: LACLRec, histories: Sequence[np.ndarray], vocabulary: ItemVocabulary) -> dict[str, Any]:
    """Edit histories with the likeliest operations and count.

    Args:
        model: has an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        vocabulary: the items.

    Returns:
        `keep_rate`, `delete_rate`, `insert_rate` of all events, `unchanged`, the share of histories that stay as they
        are, `length` and `edited_length`, their means, and `most_deleted` and `most_inserted`: up to ten items by
        count, each with `item`, `times` and `events`, how often the histories hold it. What is inserted but cut off,
        for the edited history would be too long, does not count.
    """
    events, deleted, inserted = (np.zeros(model.n_items + 1, np.int64) for _ in range(3))
    operations_met = np.zeros(3, np.int64)
    unchanged, edited_items = 0, 0
    for history in history_batches(histories):
        edits = likeliest_edits(model, history)
        ids, operations, edited = history.numpy(), edits.operations.numpy(), edits.edited.numpy()
        real = ids > 0
        insertions = _surviving_insertions(history, edits, vocabulary)
        operations_met += np.bincount(operations[real], minlength=3)
        events += np.bincount(ids[real], minlength=len(events))
        deleted += np.bincount(ids[real & (operations == DELETE)], minlength=len(events))
        inserted += np.bincount(insertions, minlength=len(events))
        same = np.zeros_like(edited)
        same[:, : ids.shape[1]] = ids[:, : same.shape[1]]
        unchanged += int(np.sum(np.all(same == edited, axis=1)))
        edited_items += int(np.sum(edited > 0))
    n_events = int(operations_met.sum())

    def most(counts: np.ndarray) -> list[dict[str, Any]]:
        best = np.argsort(-counts, kind="stable")[:MOST_SHOWN]
        return [
            {"item": vocabulary.items[each - 1], "times": int(counts[each]), "events": int(events[each])}
            for each in best.tolist()
            if counts[each]
        ]

    rates = {"keep_rate": KEEP, "delete_rate": DELETE, "insert_rate": INSERT}
    return {name: float(operations_met[operation] / n_events) for name, operation in rates.items()} | {
        "unchanged": unchanged / len(histories),
        "length": n_events / len(histories),
        "edited_length": edited_items / len(histories),
        "most_deleted": most(deleted),
        "most_inserted": most(inserted),
    }


def _surviving_insertions(history: tf.Tensor, edits: Edits, vocabulary: ItemVocabulary) -> np.ndarray:
    """Return the ids of the inserted items that the edited histories hold."""
    # Edited again with other ids for what is inserted, to tell it from the histories' own items.
    beyond = vocabulary.table_size
    marked = apply_edits(
        history,
        edits.operations,
        edits.insertions + beyond,
        eos_id=vocabulary.eos_id + beyond,
        max_length=edits.edited.shape[1],
    ).numpy()
    return marked[marked > beyond] - beyond
