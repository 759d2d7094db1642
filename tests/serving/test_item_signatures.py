"""What is asked about items: their vectors and their neighbours."""

import numpy as np
import pytest
import tensorflow as tf


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
    np.testing.assert_array_equal(similar["filled"], [19, 0])
    np.testing.assert_array_equal(similar["known"], [True, False])
    assert retriever.similar_items(tf.constant(["007"]))["item_ids"].shape == (1, 10)
    with pytest.raises(tf.errors.InvalidArgumentError, match="k must be at least 1"):
        retriever.similar_items(tf.constant(["007"]), k=tf.constant(0))
