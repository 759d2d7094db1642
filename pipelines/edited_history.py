"""What the augmenter makes of one history, item by item: kept, deleted, inserted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.ops.edits import DELETE, INSERT, OPERATION_NAMES, inserted_items, surviving_operations


@dataclass(frozen=True)
class EditedItem:
    """An item of a history before or after editing.

    Args:
        item: its id as users know it.
        operation: "keep", "delete" or "insert". An item before which others are inserted is kept.
        probability: how sure the augmenter is of that; None for an inserted item.
    """

    item: str
    operation: str
    probability: float | None = None


@dataclass(frozen=True)
class EditedHistory:
    """A history before and after editing.

    Args:
        before: its items, deleted ones marked.
        after: the edited history, inserted items marked.
    """

    before: tuple[EditedItem, ...]
    after: tuple[EditedItem, ...]

    @property
    def is_changed(self) -> bool:
        """Whether an item was deleted or inserted."""
        return any(each.operation != "keep" for each in (*self.before, *self.after))


def edited_histories(history: np.ndarray, edits: Edits, vocabulary: ItemVocabulary) -> list[EditedHistory]:
    """Read what was done to a batch of histories.

    Args:
        history: `[B, L]` integer ids, right-padded with 0.
        edits: the augmenter's, on `history`.
        vocabulary: the items.

    Example:
        >>> edits = Edits(np.array([[1, 2]]), np.full((1, 2, 3), 0.5), np.array([[[0], [3]]]), np.array([[3, 2]]))
        >>> (edited,) = edited_histories(np.array([[1, 2]]), edits, ItemVocabulary(["a", "b", "c"]))
        >>> [(each.item, each.operation) for each in edited.before], [each.item for each in edited.after]
        ([('a', 'delete'), ('b', 'keep')], ['c', 'b'])
    """
    # An edited history is never empty: the last item stays.
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
            run: Sequence[int] = runs[place][runs[place] > 0][::-1].tolist()  # the farthest stands first
            after += [EditedItem(inserted, "insert") for inserted in vocabulary.to_items(run)]
        if operation != DELETE:
            after.append(before[-1])
    # An edited history has a longest length: its last items stay.
    return EditedHistory(tuple(before), tuple(after[-n_final:]))
