"""Rows of new items: the neighbours' mean, drawn out, and the mean of all rows where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.item_vectors import cooccurrence_weights, neighbour_vectors
from laclrec_tf.errors import InputError

TABLE = np.array([[3.0, 4.0], [0.0, 10.0], [6.0, 0.0]])


def weights(*rows):
    return scipy.sparse.csr_array(np.array(rows, float).reshape(-1, 3))


def test_a_row_by_hand():
    # 3/4 (3, 4) + 1/4 (0, 10) = (2.25, 5.5); mean norm 3/4 * 5 + 1/4 * 10 = 6.25, of which 0.85.
    rows, found = neighbour_vectors(weights([3, 1, 0]), TABLE)
    expected = np.array([2.25, 5.5]) / np.hypot(2.25, 5.5) * 6.25 * 0.85
    np.testing.assert_allclose(rows, [expected], rtol=1e-6)
    assert rows.dtype == np.float32
    assert found.tolist() == [True]


def test_one_neighbour_gives_a_shorter_copy_of_its_row():
    rows, _ = neighbour_vectors(weights([0, 7, 0]), TABLE)
    np.testing.assert_allclose(rows, [[0, 8.5]], rtol=1e-6)


def test_without_neighbours_the_mean_of_all_rows():
    rows, found = neighbour_vectors(weights([0, 0, 0], [0, 0, 1]), TABLE)
    np.testing.assert_allclose(rows, [[3, 14 / 3], [5.1, 0]], rtol=1e-6)
    assert found.tolist() == [False, True]


@given(st.integers(0, 2**32 - 1))
def test_an_item_that_nothing_is_known_of_is_never_the_best(seed):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(30, 4)) + generator.normal(size=4)
    rows, _ = neighbour_vectors(scipy.sparse.csr_array((1, 30)), table)
    user = generator.normal(size=4)
    assert (rows @ user)[0] < (table @ user).max()


def test_opposite_neighbours_leave_a_short_row():
    rows, found = neighbour_vectors(weights([1, 0, 1]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    assert rows.tolist() == [[0.0, 0.0]]
    assert found.tolist() == [True]


def test_no_new_item_no_row():
    rows, found = neighbour_vectors(weights(), TABLE)
    assert rows.shape == (0, 2) and found.shape == (0,)


def test_arguments_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="same number of old items. Received: 3 and 2"):
        neighbour_vectors(weights([1, 0, 0]), TABLE[:2])
    with pytest.raises(InputError, match="`share_of_norm` must be above 0. Received: 0"):
        neighbour_vectors(weights([1, 0, 0]), TABLE, share_of_norm=0)


def test_cooccurrence_by_hand():
    # Old 1, 2, 3, new 4, 5: item 4 stands beside 1, two from 2, beside 3 and two from 3; 5 beside 2, two from 1.
    histories = [np.array([2, 1, 4]), np.array([1, 2, 5]), np.array([3, 3, 4])]
    counts = cooccurrence_weights(histories, n_items=3, n_new=2, window=2).toarray()
    np.testing.assert_allclose(counts, [[1, 0.5, 1.5], [0.5, 1, 0]])


def test_new_items_are_no_neighbours_of_each_other():
    counts = cooccurrence_weights([np.array([3, 4, 3, 4])], n_items=2, n_new=2)
    assert counts.shape == (2, 2) and counts.nnz == 0


def test_an_unknown_id_is_refused():
    with pytest.raises(InputError, match="ids from 1 to 3. Received: 1 to 4"):
        cooccurrence_weights([np.array([1, 4])], n_items=2, n_new=1)
