"""A catalogue model's negatives: every item of a large catalogue can be drawn, as often as expected."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses.sampled_softmax import log_expected_count
from laclrec_tf.models import LACLRec
from laclrec_tf.models.catalogue_model import CatalogueModel

N_ITEMS = 10_000_000
N_DRAWS = 500_000


@pytest.fixture(scope="module", params=["interpreter", "xla"])
def drawn(request) -> np.ndarray:
    model = CatalogueModel(seed=3)
    model.n_items, model.n_negatives = N_ITEMS, N_DRAWS
    return tf.function(model.draw_negatives, jit_compile=request.param == "xla")().numpy()


def test_every_item_of_the_tail_can_be_drawn(drawn: np.ndarray):
    # log 2 / log(N + 1) = 4.3 % of the draws fall on the rarer half, 21,500 on 5 million ids: of their 2.3e8 pairs
    # about 48 meet. Numbers 2^-23 apart reach 0.043 * 2^23 = 361,000 of these ids, and 640 pairs would.
    tail = drawn[drawn > N_ITEMS // 2]
    assert len(tail) == pytest.approx(21_500, rel=0.03)
    assert 20 < len(tail) - len(np.unique(tail)) < 100


def test_items_of_the_tail_come_as_often_as_their_expected_count_says(drawn: np.ndarray):
    ends = np.linspace(N_ITEMS // 2, N_ITEMS, 6).astype(int)
    for first, last in zip(ends[:-1] + 1, ends[1:], strict=True):
        expected = np.exp(log_expected_count(tf.range(first, last + 1), N_ITEMS, N_DRAWS).numpy(), dtype=float).sum()
        # Four standard deviations of a count.
        assert np.sum((drawn >= first) & (drawn <= last)) == pytest.approx(expected, abs=4 * expected**0.5)


def test_items_begin_at_given_vectors_and_special_ids_stay():
    model = LACLRec(n_items=3, width=2)
    before = model.encoder.item_table.numpy()
    model.initialise_items(np.array([[1, 2], [3, 4], [5, 6]]))
    after = model.encoder.item_table.numpy()
    assert after[1:4].tolist() == [[1, 2], [3, 4], [5, 6]]
    np.testing.assert_array_equal(after[[0, 4, 5]], before[[0, 4, 5]])


def test_vectors_of_another_shape_are_refused():
    message = r"Argument `vectors` must have the shape \(3, 2\). Received: \(4, 2\)."
    with pytest.raises(ValueError, match=message):
        LACLRec(n_items=3, width=2).initialise_items(np.zeros((4, 2)))


def test_candidates_are_sampled_items_and_those_given():
    model = CatalogueModel(seed=3)
    model.n_items, model.n_negatives = 50, 4
    candidates = model.sampled_candidates(tf.constant([[7, 9, 0], [8, 0, 0]])).numpy()
    assert candidates.shape == (4 + 6,)
    assert candidates[4:].tolist() == [7, 9, 7, 8, 7, 7]  # an item in place of padding
    assert candidates.min() >= 1
