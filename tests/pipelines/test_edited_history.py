"""Edits as items with marks, by hand."""

from __future__ import annotations

import numpy as np

from laclrec_tf.evaluation.augmenter_edits import edited_histories
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits

VOCABULARY = ItemVocabulary(["a", "b", "c", "d", "e"])
EOS = 6


def edited(history, operations, runs, max_length=9):
    history, operations, runs = (np.array([each], np.int32) for each in (history, operations, runs))
    probabilities = np.tile(np.array([0.5, 0.3, 0.2]), (*history.shape, 1))
    final = apply_edits(history, operations, runs, eos_id=EOS, max_length=max_length).numpy()
    (found,) = edited_histories(history, Edits(operations, probabilities, runs, final), VOCABULARY)
    assert [each.item for each in found.after] == VOCABULARY.to_items(final[final > 0].tolist())
    return found


def marks(items):
    return " ".join({"keep": "", "delete": "-", "insert": "+"}[each.operation] + each.item for each in items)


def test_deleted_and_inserted_items_are_marked_the_nearest_inserted_item_last():
    found = edited([1, 2, 3, 0], [KEEP, DELETE, INSERT, KEEP], [[0, 0], [0, 0], [4, 5], [0, 0]])
    assert marks(found.before) == "a -b c"
    assert marks(found.after) == "a +e +d c"
    assert [each.probability for each in found.before] == [0.5, 0.3, 0.2]
    assert found.is_changed


def test_a_run_ends_at_eos_and_an_empty_one_changes_nothing():
    found = edited([1, 2], [INSERT, INSERT], [[EOS, 3], [4, EOS]])
    assert marks(found.after) == "a +d b"
    assert not edited([1], [INSERT], [[EOS, 3]]).is_changed


def test_the_last_item_stays_when_all_would_go():
    found = edited([1, 2], [DELETE, DELETE], [[0], [0]])
    assert (marks(found.before), marks(found.after)) == ("-a b", "b")
    # Each with the probability of what is shown: 0.3 is that of a deletion.
    assert [each.probability for each in found.before] == [0.3, 0.5]


def test_the_last_items_stay_when_the_edited_history_is_too_long():
    found = edited([1, 2, 3], [KEEP, KEEP, INSERT], [[0], [0], [4]], max_length=3)
    assert (marks(found.before), marks(found.after)) == ("a b c", "b +d c")
