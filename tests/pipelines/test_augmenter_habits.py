"""What the augmenter does to histories, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.evaluation import augmenter_edits as module
from laclrec_tf.evaluation.augmenter_edits import augmenter_habits
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits

VOCABULARY = ItemVocabulary(["one", "two", "three", "four", "five"])
EOS = VOCABULARY.eos_id
# By item: what is done to it, and what is inserted before it, the nearest first.
OPERATIONS = [KEEP, INSERT, INSERT, INSERT, KEEP, DELETE]
RUNS = [[0, 0], [3, 4], [5, EOS], [5, 4], [EOS, 0], [1, 2]]


@pytest.fixture
def habits(monkeypatch):
    """Return the habits of an augmenter that looks at each item alone and writes at most three."""

    def edit(model, history):
        operations, insertions = tf.gather(OPERATIONS, history), tf.gather(RUNS, history)
        edited = apply_edits(history, operations, insertions, eos_id=EOS, max_length=3)
        return Edits(operations, tf.zeros([*history.shape, 3]), insertions, edited)

    monkeypatch.setattr(module, "likeliest_edits", edit)
    histories = [np.array(items, np.int32) for items in ([1, 2], [3], [5, 4], [4])]
    return augmenter_habits(SimpleNamespace(n_items=5), histories, VOCABULARY)


def test_what_is_inserted_but_cut_off_does_not_count(habits):
    # 1 2 would become 4 3 1 5 2, of which 1 5 2 stay; 3 becomes 4 5 3.
    assert habits["most_inserted"] == [
        {"item": "five", "times": 2, "events": 1},
        {"item": "four", "times": 1, "events": 2},
    ]


def test_the_other_counts(habits):
    # Six events: 1, 2 and 3 look for missing ones, 4 is kept twice, 5 is deleted; 5 4 becomes 4, and 4 stays.
    assert habits["most_deleted"] == [{"item": "five", "times": 1, "events": 1}]
    assert (habits["keep_rate"], habits["delete_rate"], habits["insert_rate"]) == (2 / 6, 1 / 6, 3 / 6)
    assert habits["unchanged"] == 1 / 4
    assert (habits["length"], habits["edited_length"]) == (6 / 4, (3 + 3 + 1 + 1) / 4)
