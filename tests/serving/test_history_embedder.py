"""Vectors of histories."""

import numpy as np
import tensorflow as tf

from laclrec_tf.serving.retriever.signatures import HistoryEmbedder


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
