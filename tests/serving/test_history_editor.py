"""What the augmenter's answer says of histories of item strings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.retriever.lookup import ItemLookup
from laclrec_tf.serving.retriever.signatures import HistoryEditor

# Ids: a..e are 1..5, EOS 6. Histories "a c" and "b"; runs are nearest first.
EDITS = SimpleNamespace(
    operations=tf.constant([[2, 0], [1, 0]]),
    probabilities=tf.constant([[[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]], [[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]]]),
    insertions=tf.constant([[[5, 4, 6], [3, 3, 3]], [[2, 6, 6], [2, 2, 2]]]),
    edited=tf.constant([[4, 5, 1, 3, 0], [2, 0, 0, 0, 0]]),
)


def names(strings: tf.Tensor) -> list:
    return np.char.decode(strings.numpy().astype("S"), "utf-8").tolist()


def test_augment_names_what_was_decided():
    model = SimpleNamespace(n_items=5, max_length=3, edit=lambda item_ids, decision: {"argmax": EDITS}[decision])
    editor = HistoryEditor(model, ItemLookup(ItemVocabulary("abcde")))
    answer = editor.augment(tf.constant([["a", "unknown", "c"], ["", "b", ""]]))
    assert names(answer["history"]) == [["a", "c"], ["b", ""]]
    # b was to be deleted; as nothing would be left, it stays.
    assert names(answer["operations"]) == [["insert", "keep"], ["keep", ""]]
    np.testing.assert_allclose(
        answer["probabilities"], [[[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]], [[0.2, 0.5, 0.3], [0.0, 0.0, 0.0]]]
    )
    # The nearest to a is e: in reading order it comes last. Only runs of INSERT count.
    assert names(answer["inserted"]) == [[["d", "e", ""], ["", "", ""]], [["", "", ""], ["", "", ""]]]
    assert names(answer["edited_history"]) == [["d", "e", "a", "c"], ["b", "", "", ""]]


def test_augment_is_the_models_likeliest_edit(retriever, model, vocabulary):
    generator = np.random.default_rng(0)
    ids = generator.integers(1, 21, (30, 6))
    edits = model.edit(ids, decision="argmax")
    answer = retriever.signatures["augment"](tf.constant([vocabulary.to_items(row) for row in ids.tolist()]))
    assert {"keep", "delete", "insert"} <= {name for row in names(answer["operations"]) for name in row}
    np.testing.assert_allclose(answer["probabilities"], edits.probabilities, rtol=1e-5, atol=1e-6)
    edited = [vocabulary.to_items([i for i in row if i]) for row in edits.edited.numpy().tolist()]
    assert [[item for item in row if item] for row in names(answer["edited_history"])] == edited


def test_operations_and_insertions_explain_the_edited_history(retriever, vocabulary):
    ids = np.random.default_rng(1).integers(1, 21, (50, 6)).tolist()
    answer = retriever.signatures["augment"](tf.constant([vocabulary.to_items(row) for row in ids]))
    columns = (names(answer[name]) for name in ("history", "operations", "inserted", "edited_history"))
    for history, operations, inserted, edited in zip(*columns, strict=True):
        rebuilt = []
        for item, operation, run in zip(history, operations, inserted, strict=True):
            assert operation == "insert" or not any(run)
            rebuilt += [*filter(None, run), *([item] if operation != "delete" else [])]
        assert rebuilt[-8:] == [item for item in edited if item]
