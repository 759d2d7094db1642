"""What the augmenter does to histories, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.evaluation import augmenter_edits as module
from laclrec_tf.evaluation.augmenter_edits import augmenter_habits, edited_histories
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits

EDITED_VOCABULARY = ItemVocabulary(["a", "b", "c", "d", "e"])
EDITED_EOS = 6
VOCABULARY = ItemVocabulary(["one", "two", "three", "four", "five"])
EOS = VOCABULARY.eos_id
# By item: what is done to it, and what is inserted before it, the nearest first.
OPERATIONS = [KEEP, INSERT, INSERT, INSERT, KEEP, DELETE]
RUNS = [[0, 0], [3, 4], [5, EOS], [5, 4], [EOS, 0], [1, 2]]


def edited(history, operations, runs, max_length=9):
    history, operations, runs = (np.array([each], np.int32) for each in (history, operations, runs))
    probabilities = np.tile(np.array([0.5, 0.3, 0.2]), (*history.shape, 1))
    final = apply_edits(history, operations, runs, eos_id=EDITED_EOS, max_length=max_length).numpy()
    (found,) = edited_histories(history, Edits(operations, probabilities, runs, final), EDITED_VOCABULARY)
    assert [each.item for each in found.after] == EDITED_VOCABULARY.to_items(final[final > 0].tolist())
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
    found = edited([1, 2], [INSERT, INSERT], [[EDITED_EOS, 3], [4, EDITED_EOS]])
    assert marks(found.after) == "a +d b"
    assert not edited([1], [INSERT], [[EDITED_EOS, 3]]).is_changed


def test_the_last_item_is_kept_if_all_would_be_deleted():
    found = edited([1, 2], [DELETE, DELETE], [[0], [0]])
    assert (marks(found.before), marks(found.after)) == ("-a b", "b")
    # Each has the probability of the operation that is shown: 0.3 is that of a deletion.
    assert [each.probability for each in found.before] == [0.3, 0.5]


def test_the_last_items_are_kept_if_the_edited_history_is_too_long():
    found = edited([1, 2, 3], [KEEP, KEEP, INSERT], [[0], [0], [4]], max_length=3)
    assert (marks(found.before), marks(found.after)) == ("a b c", "b +d c")


@pytest.fixture
def habits(monkeypatch):
    """Return the habits of an augmenter that edits by item alone, with at most three items in an edited history."""

    def edit(model, history):
        operations, insertions = tf.gather(OPERATIONS, history), tf.gather(RUNS, history)
        edited = apply_edits(history, operations, insertions, eos_id=EOS, max_length=3)
        return Edits(operations, tf.zeros([*history.shape, 3]), insertions, edited)

    monkeypatch.setattr(module, "likeliest_edits", edit)
    histories = [np.array(items, np.int32) for items in ([1, 2], [3], [5, 4], [4])]
    return augmenter_habits(SimpleNamespace(n_items=5), histories, VOCABULARY)


def test_inserted_items_that_are_cut_off_do_not_count(habits):
    # 1 2 would become 4 3 1 5 2, which is cut to 1 5 2; 3 becomes 4 5 3.
    assert habits["most_inserted"] == [
        {"item": "five", "times": 2, "events": 1},
        {"item": "four", "times": 1, "events": 2},
    ]


def test_the_other_counts(habits):
    # Six events: items are inserted before 1, 2 and 3, 4 is kept twice, 5 is deleted; 5 4 becomes 4, and 4 stays 4.
    assert habits["most_deleted"] == [{"item": "five", "times": 1, "events": 1}]
    assert (habits["keep_rate"], habits["delete_rate"], habits["insert_rate"]) == (2 / 6, 1 / 6, 3 / 6)
    assert habits["unchanged"] == 1 / 4
    assert (habits["length"], habits["edited_length"]) == (6 / 4, (3 + 3 + 1 + 1) / 4)
