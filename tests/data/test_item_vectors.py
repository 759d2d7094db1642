"""Tests of the item table's beginning: vectors of co-occurrence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg

from laclrec_tf.data.item_vectors import cooccurrence_vectors, mutual_information
from laclrec_tf.errors import InputError


def test_mutual_information_by_hand():
    # Pairs: {1, 2} 1, {2, 3} 1 and, two apart, {1, 3} 1/2; ends of pairs: 1.5, 2, 1.5, of 5.
    information = mutual_information([np.array([1, 2, 3])], n_items=4, window=2).toarray()
    near, far = np.log(1 * 5 / (1.5 * 2)), np.log(0.5 * 5 / (1.5 * 1.5))
    expected = [[0, near, far, 0], [near, 0, near, 0], [far, near, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(information, expected, rtol=1e-12)


def test_what_meets_less_often_than_by_chance_has_no_information():
    # {1, 2} meet once, each meets itself in turn with 3 and 4 nine times: 1 * 38 / (10 * 10) < 1.
    histories = [np.array([1, 2]), *[np.array([1, 3])] * 9, *[np.array([2, 4])] * 9]
    information = mutual_information(histories, n_items=4, window=1).toarray()
    assert information[0, 1] == 0
    assert information[0, 2] == pytest.approx(np.log(9 * 38 / (10 * 9)))


def test_vectors_are_the_strongest_directions():
    # {1, 2} and {1, 5} once each: on 1, 2, 5 the matrix has the directions (1, 0, 0) and (0, 1, 1) / sqrt 2.
    # {3, 4} has its own two. All four are kept, so products of vectors are the projection on them.
    histories = [np.array([1, 2]), np.array([3, 4]), np.array([5, 1])]
    vectors = cooccurrence_vectors(histories, n_items=5, width=4, window=1).astype(float)
    expected = np.diag([1, 0.5, 1, 1, 0.5])
    expected[1, 4] = expected[4, 1] = 0.5
    products = vectors @ vectors.T
    np.testing.assert_allclose(products / products[0, 0], expected, atol=1e-6)
    assert np.mean(vectors**2) == pytest.approx(0.01, rel=1e-6)


def test_windows_end_with_the_history():
    together = mutual_information([np.array([1, 2, 3, 4])], n_items=4, window=3).toarray()
    apart = mutual_information([np.array([1, 2]), np.array([3, 4])], n_items=4, window=3).toarray()
    assert together[1, 2] > 0 == apart[1, 2]


def test_no_coordinate_carries_more_than_another():
    generator = np.random.default_rng(0)
    histories = [generator.integers(1, 101, size=20) for _ in range(200)]
    spread = cooccurrence_vectors(histories, n_items=100, width=8).std(axis=0)
    assert spread.max() < 2 * spread.min()  # unturned, the strongest direction alone has three times the weakest


def test_items_without_neighbours_begin_small_and_apart():
    vectors = cooccurrence_vectors([np.array([1, 2, 1]), np.array([4])], n_items=400, width=16)
    assert vectors.dtype == np.float32 and vectors.shape == (400, 16)
    assert vectors[2:].std() == pytest.approx(0.02, rel=0.1)
    assert len(np.unique(vectors[2:], axis=0)) == 398


@pytest.mark.parametrize(("n_items", "width"), [(1, 4), (2, 4), (5, 4), (4, 64)])
def test_catalogues_smaller_than_a_vector(n_items, width):
    vectors = cooccurrence_vectors([np.arange(1, n_items + 1)] * 2, n_items, width)
    assert vectors.shape == (n_items, width)
    assert np.isfinite(vectors).all() and vectors.any(axis=1).all()


def test_the_seed_decides():
    histories = [np.array([1, 2, 3]), np.array([2, 3, 4]), np.array([4, 5, 6])]
    first, again, other = (cooccurrence_vectors(histories, 6, 3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first @ first.T, other @ other.T, atol=1e-5)
    assert abs(first - other).max() > 1e-3


def test_which_of_two_opposite_directions_is_found_does_not_matter(monkeypatch):
    histories = [np.array([1, 2, 3]), np.array([2, 3, 4]), np.array([4, 5, 6])]
    expected, svds = cooccurrence_vectors(histories, 6, 3), scipy.sparse.linalg.svds

    def another_processor(*arguments, **settings):
        directions, strengths, others = svds(*arguments, **settings)
        return directions * [-1, 1, -1], strengths, others

    monkeypatch.setattr(scipy.sparse.linalg, "svds", another_processor)
    np.testing.assert_array_equal(cooccurrence_vectors(histories, 6, 3), expected)


@pytest.mark.parametrize("histories", [[], [np.array([], np.int32)], [np.array([3])], [np.array([2, 2])]])
def test_histories_without_pairs(histories):
    assert np.isfinite(cooccurrence_vectors(histories, n_items=3, width=2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_items": 0}, "Argument `n_items` must be at least 1. Received: 0."),
        ({"width": 0}, "Argument `width` must be at least 1. Received: 0."),
        ({"window": 0}, "Argument `window` must be at least 1. Received: 0."),
        ({"scale": 0.0}, "Argument `scale` must be above 0. Received: 0.0."),
        ({"n_items": 2}, "Argument `histories` must hold ids from 1 to 2. Received: 1 to 3."),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError) as error:
        cooccurrence_vectors([np.array([1, 2, 3])], **({"n_items": 3, "width": 2} | arguments))
    assert str(error.value) == message
