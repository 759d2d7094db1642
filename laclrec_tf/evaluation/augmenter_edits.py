"""What an augmenter does to real histories: how much it edits, item by item, and which items it edits most often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.evaluation.augmenter_repairs import history_batches
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import (
    DELETE,
    INSERT,
    KEEP,
    OPERATION_NAMES,
    apply_edits,
    inserted_items,
    surviving_operations,
)

# A model without `n_negatives` inserts from the whole catalogue; with it, the catalogue is too large for that.
MAX_CANDIDATES = 10_000
MAX_LISTED = 10


def augmenter_habits(model: LACLRec, histories: Sequence[np.ndarray], vocabulary: ItemVocabulary) -> dict[str, Any]:
    """Edit histories with the likeliest operations and count the edits.

    Args:
        model: a model with an augmenter.
        histories: per user `[n]` int32 ids, oldest first.
        vocabulary: the items.

    Returns:
        `keep_rate`, `delete_rate` and `insert_rate`, shares of all events; `unchanged`, the share of histories without
        an edit; `length` and `edited_length`, means; `most_deleted` and `most_inserted`, up to ten items by count, each
        with `item`, `times` and `events`, the number of its events in the histories. Inserted items that are cut off
        because the edited history would be too long do not count.
    """
    events, deleted, inserted = (np.zeros(model.n_items + 1, np.int64) for _ in range(3))
    operation_counts = np.zeros(3, np.int64)
    unchanged, edited_items = 0, 0
    for history in history_batches(histories):
        edits = likeliest_edits(model, history)
        ids, operations, edited = history.numpy(), edits.operations.numpy(), edits.edited.numpy()
        real = ids > 0
        insertions = _surviving_insertions(history, edits, vocabulary)
        operation_counts += np.bincount(operations[real], minlength=3)
        events += np.bincount(ids[real], minlength=len(events))
        deleted += np.bincount(ids[real & (operations == DELETE)], minlength=len(events))
        inserted += np.bincount(insertions, minlength=len(events))
        same = np.zeros_like(edited)
        same[:, : ids.shape[1]] = ids[:, : same.shape[1]]
        unchanged += int(np.sum(np.all(same == edited, axis=1)))
        edited_items += int(np.sum(edited > 0))
    n_events = int(operation_counts.sum())

    def most_frequent(counts: np.ndarray) -> list[dict[str, Any]]:
        best = np.argsort(-counts, kind="stable")[:MAX_LISTED]
        return [
            {"item": vocabulary.items[each - 1], "times": int(counts[each]), "events": int(events[each])}
            for each in best.tolist()
            if counts[each]
        ]

    rates = {"keep_rate": KEEP, "delete_rate": DELETE, "insert_rate": INSERT}
    return {name: float(operation_counts[operation] / n_events) for name, operation in rates.items()} | {
        "unchanged": unchanged / len(histories),
        "length": n_events / len(histories),
        "edited_length": edited_items / len(histories),
        "most_deleted": most_frequent(deleted),
        "most_inserted": most_frequent(inserted),
    }


def _surviving_insertions(history: tf.Tensor, edits: Edits, vocabulary: ItemVocabulary) -> np.ndarray:
    """Return the ids of the inserted items that the edited histories contain."""
    # Edit again with shifted ids for the insertions, to distinguish them from the histories' own items.
    shift = vocabulary.table_size
    marked = apply_edits(
        history,
        edits.operations,
        edits.insertions + shift,
        eos_id=vocabulary.eos_id + shift,
        max_length=edits.edited.shape[1],
    ).numpy()
    return marked[marked > shift] - shift


def likeliest_edits(model: LACLRec, history: tf.Tensor) -> Edits:
    """Edit histories with the likeliest operations, whatever the model's `decision`.

    Args:
        model: a model with an augmenter. With `n_negatives` only the 10,000 most frequent items, those of the lowest
            ids, are inserted.
        history: `[B, L]` integer ids, right-padded with 0.

    Returns:
        The edits, with KEEP for the last item of a history that would lose all items.

    Example:
        >>> model = LACLRec(n_items=20, width=8)
        >>> likeliest_edits(model, tf.constant([[5, 6, 0]])).operations.shape
        TensorShape([1, 3])
    """
    candidates = None
    if model.n_negatives:
        candidates = np.arange(1, min(model.n_items, MAX_CANDIDATES) + 1, dtype=np.int32)
    edits = model.edits_of(history, "argmax", candidates)
    return edits._replace(operations=surviving_operations(history, tf.cast(edits.operations, tf.int32)))


@dataclass(frozen=True)
class EditedItem:
    """An item of a history before or after editing.

    Args:
        item: external id of the item.
        operation: "keep", "delete" or "insert". An item before which others are inserted is kept.
        probability: the augmenter's probability of the operation; None for an inserted item.
    """

    item: str
    operation: str
    probability: float | None = None


@dataclass(frozen=True)
class EditedHistory:
    """A history before and after editing.

    Args:
        before: items of the history; deleted ones are marked.
        after: items of the edited history; inserted ones are marked.
    """

    before: tuple[EditedItem, ...]
    after: tuple[EditedItem, ...]

    @property
    def is_changed(self) -> bool:
        """Whether an item was deleted or inserted."""
        return any(each.operation != "keep" for each in (*self.before, *self.after))


def edited_histories(history: np.ndarray, edits: Edits, vocabulary: ItemVocabulary) -> list[EditedHistory]:
    """Describe the edits of a batch of histories item by item.

    Args:
        history: `[B, L]` integer ids, right-padded with 0.
        edits: the augmenter's edits of `history`.
        vocabulary: the items.

    Example:
        >>> edits = Edits(np.array([[1, 2]]), np.full((1, 2, 3), 0.5), np.array([[[0], [3]]]), np.array([[3, 2]]))
        >>> (edited,) = edited_histories(np.array([[1, 2]]), edits, ItemVocabulary(["a", "b", "c"]))
        >>> [(each.item, each.operation) for each in edited.before], [each.item for each in edited.after]
        ([('a', 'delete'), ('b', 'keep')], ['c', 'b'])
    """
    # An edited history is never empty: the last item is kept.
    operations = np.asarray(surviving_operations(history, edits.operations))
    probabilities = np.asarray(edits.probabilities)
    runs = np.asarray(inserted_items(edits.insertions, vocabulary.eos_id))
    final = np.asarray(edits.edited)
    rows = zip(np.asarray(history), operations, probabilities, runs, final, strict=True)
    return [_edited(*row, vocabulary) for row in rows]


def _edited(
    history: np.ndarray,
    operations: np.ndarray,
    probabilities: np.ndarray,
    runs: np.ndarray,
    final: np.ndarray,
    vocabulary: ItemVocabulary,
) -> EditedHistory:
    before, after = [], []
    n_final = int(np.sum(final > 0))
    for place, item_id in enumerate(history[history > 0].tolist()):
        operation, (name,) = int(operations[place]), vocabulary.to_items([item_id])
        shown = OPERATION_NAMES[DELETE] if operation == DELETE else "keep"
        before.append(EditedItem(name, shown, float(probabilities[place, operation])))
        if operation == INSERT:
            run: Sequence[int] = runs[place][runs[place] > 0][::-1].tolist()  # the farthest item comes first
            after += [EditedItem(inserted, "insert") for inserted in vocabulary.to_items(run)]
        if operation != DELETE:
            after.append(before[-1])
    # An edited history that is too long keeps its last items.
    return EditedHistory(tuple(before), tuple(after[-n_final:]))
