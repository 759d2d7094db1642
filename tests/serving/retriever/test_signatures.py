"""Vectors, similar items and the augmenter's edits for strings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.layers.deletion_evidence import COEFFICIENTS
from laclrec_tf.layers.sequence_augmenter import NO_INSERTION
from laclrec_tf.models import LACLRec
from laclrec_tf.serving.retriever.lookup import ItemLookup
from laclrec_tf.serving.retriever.signatures import HistoryEditor, HistoryEmbedder

# Ids: a..e are 1..5, EOS 6. Histories "a c" and "b"; runs are nearest first.
EDITS = SimpleNamespace(
    operations=tf.constant([[2, 0], [1, 0]]),
    probabilities=tf.constant([[[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]], [[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]]]),
    insertions=tf.constant([[[5, 4, 6], [3, 3, 3]], [[2, 6, 6], [2, 2, 2]]]),
    edited=tf.constant([[4, 5, 1, 3, 0], [2, 0, 0, 0, 0]]),
)


def test_a_vector_is_the_models_for_the_recent_known_items(retriever, model, vocabulary):
    embedder = HistoryEmbedder(model, retriever.lookup)
    recent = vocabulary.to_items([4, 2, 9, 1, 5, 3])
    answer = embedder.embed_history(tf.constant([["007", *recent, "unknown"], [""] * 8, ["?"] + [""] * 7]))
    np.testing.assert_array_equal(answer["unknown"], [1, 0, 1])
    vectors = answer["user_vectors"].numpy()
    np.testing.assert_allclose(vectors[0], model(np.array([[4, 2, 9, 1, 5, 3]]), training=False)[0], rtol=1e-4)
    np.testing.assert_array_equal(vectors[1:], 0.0)


def test_rows_without_a_known_item_have_no_vector(retriever, model):
    embedder = HistoryEmbedder(model, retriever.lookup)
    _, has_vector = embedder.user_vectors(tf.constant([[0, 0], [0, 7]]))
    np.testing.assert_array_equal(has_vector, [False, True])


def test_vectors_multiply_to_the_scores(retriever, vocabulary):
    history = tf.constant([["007", "item-12"], ["unknown", ""]])
    users = retriever.embed_history(history)["user_vectors"].numpy()
    items = retriever.embed_items(tf.constant([*vocabulary, "unknown"]))
    np.testing.assert_array_equal(items["known"], [True] * 20 + [False])
    np.testing.assert_array_equal(items["item_vectors"][-1], np.zeros(8))
    np.testing.assert_array_equal(users[1], np.zeros(8))
    scores = retriever.rank(history, tf.constant([list(vocabulary)]))["scores"]
    np.testing.assert_allclose(items["item_vectors"].numpy()[:-1] @ users[0], scores[0], rtol=1e-5, atol=1e-6)


def names(strings: tf.Tensor) -> list:
    return np.char.decode(strings.numpy().astype("S"), "utf-8").tolist()


def test_similar_items_have_the_nearest_directions(retriever, model, vocabulary):
    table = model.item_vectors.numpy()[1:-2]
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    cosine = table @ table[4]
    cosine[4] = -np.inf
    order = np.argsort(-cosine)
    similar = retriever.similar_items(tf.constant([vocabulary.items[4], "unknown"]), k=tf.constant(30))
    assert names(similar["item_ids"]) == [[*(vocabulary.items[i] for i in order[:19]), ""], [""] * 20]
    np.testing.assert_allclose(similar["scores"][0, :19], cosine[order[:19]], rtol=1e-5, atol=1e-6)
    assert np.isfinite(similar["scores"]).all()  # also in the slots without an item
    np.testing.assert_array_equal(similar["filled"], [19, 0])
    np.testing.assert_array_equal(similar["known"], [True, False])
    assert retriever.similar_items(tf.constant(["007"]))["item_ids"].shape == (1, 10)
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be at least 1"):
        retriever.similar_items(tf.constant(["007"]), k=tf.constant(0))


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


def test_augment_deletes_by_the_evidence_of_a_calibrated_model(tmp_path):
    model = LACLRec(n_items=5, max_length=4, max_edited_length=6, width=8, seed=1)
    model.mixture.set_popularity(np.array([1, 1, 1, 9, 9]))
    # Popularity alone: the odds of a rare item are 21 / e^2, those of a frequent one 21 / (9 e^2).
    model.evidence.coefficients.assign(
        [-2.0 if name == "bias" else -(name == "log_popularity") for name in COEFFICIENTS]
    )
    model.evidence.threshold.assign(0.5)
    model.augmenter.insertion_threshold.assign(NO_INSERTION)
    tf.saved_model.save(HistoryEditor(model, ItemLookup(ItemVocabulary("abcde"))), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    answer = loaded.augment(tf.constant([["a", "d", "b", "e"], ["c", "", "", ""]]))
    assert names(answer["operations"]) == [["delete", "keep", "delete", "keep"], ["keep", "", "", ""]]
    rare, frequent = (odds / (1 + odds) for odds in (21 * np.exp(-2), 21 / 9 * np.exp(-2)))
    np.testing.assert_allclose(answer["probabilities"][0, :, 1], [rare, frequent, rare, frequent], rtol=1e-5)
    assert names(answer["edited_history"]) == [["d", "e"], ["c", ""]]


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
