"""User vectors of views: similarity and plane by hand, and those of a model."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from laclrec_tf.evaluation.views import ViewVectors, view_vectors
from laclrec_tf.ops.masking import trim_padding


def test_similarity_by_hand():
    raw = np.array([[2.0, 0.0], [0.0, 1.0]])
    learned = np.array([[1.0, 0.0], [3.0, 4.0]])  # cosines 1 and 0.8, dot products 2 and 4
    random = np.array([[9.0, 9.0], [0.0, 1.0]])  # cosines 1 / sqrt(2) and 1, dot products 18 and 1
    found = ViewVectors(raw, learned, random).similarity()
    np.testing.assert_allclose(found["learned"], [1.0, 0.8])
    np.testing.assert_allclose(found["random"], [np.sqrt(0.5), 1.0])
    assert found["learned_is_nearer"].tolist() == [False, True]


def test_the_plane_is_that_of_the_raw_vectors_and_the_same_for_all_views():
    # The raw vectors differ by 4 along the third axis, by 2 along the first, by 1 along the second.
    raw = np.array([[0, 0, 2], [0, 0, -2], [1, 0, 0], [-1, 0, 0], [0, 0.5, 0], [0, -0.5, 0]]) + 10.0
    moved = raw + np.array([0.0, 7.0, 1.0])
    plane, share = ViewVectors(raw, moved, raw).in_plane()
    np.testing.assert_allclose(np.abs(plane.raw[:4]), [[2, 0], [2, 0], [0, 1], [0, 1]], atol=1e-12)
    # Only the step along the third axis is in the plane.
    np.testing.assert_allclose(np.abs(plane.learned - plane.raw), np.tile([1.0, 0.0], (6, 1)), atol=1e-12)
    np.testing.assert_allclose(plane.random, plane.raw)
    assert share == (2 * 4 + 2 * 1) / (2 * 4 + 2 * 1 + 2 * 0.25)


def test_a_models_views_are_those_of_the_same_histories(laclrec_run):
    model = laclrec_run.model
    histories = [np.array([7, 8, 9], np.int32), np.array([3], np.int32)]
    found = view_vectors(model, histories, seed=2)
    for row, history in enumerate((histories[1], histories[0])):
        history = tf.constant(history[None])
        np.testing.assert_allclose(found.raw[row], model(history)[0], atol=1e-5)
        edited = trim_padding(model.edit(history).edited)
        np.testing.assert_allclose(found.learned[row], model(edited)[0], atol=1e-5)
    np.testing.assert_allclose(found.random[0], found.raw[0], atol=1e-5)  # one item has no other view
    np.testing.assert_array_equal(found.random, view_vectors(model, histories, seed=2).random)
