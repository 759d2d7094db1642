"""The catalogue: initial vectors, best items, and negatives that reach every item of a large catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.layers import ItemEmbedding
from laclrec_tf.losses.sampled_softmax import log_expected_count
from laclrec_tf.models.catalogue import Catalogue

N_ITEMS = 10_000_000
N_DRAWS = 500_000


@pytest.fixture(scope="module", params=["interpreter", "xla"])
def drawn(request) -> np.ndarray:
    catalogue = Catalogue(ItemEmbedding(N_ITEMS + 3, 1), n_negatives=N_DRAWS, seed=3)  # without its table
    return tf.function(catalogue.draw_negatives, jit_compile=request.param == "xla")().numpy()


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


@pytest.fixture
def small() -> Catalogue:
    """Return a catalogue of three items with the vectors `[[1, 2], [3, 4], [5, 6]]`."""
    catalogue = Catalogue(ItemEmbedding(6, 2))
    catalogue.build()
    catalogue.initialise(np.array([[1, 2], [3, 4], [5, 6]]))
    return catalogue


def test_initial_vectors_leave_special_ids_alone(small: Catalogue):
    small.item_table.assign(tf.range(12.0)[:, tf.newaxis][:6] + [0, 1])
    small.initialise(np.array([[1, 2], [3, 4], [5, 6]]))
    assert small.item_table.numpy().tolist() == [[0, 1], [1, 2], [3, 4], [5, 6], [4, 5], [5, 6]]


def test_vectors_of_another_shape_are_refused(small: Catalogue):
    message = r"Argument `vectors` must have the shape \(3, 2\). Received: \(4, 2\)."
    with pytest.raises(ValueError, match=message):
        small.initialise(np.zeros((4, 2)))


@pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "traced"])
def test_scores_and_best_items(small: Catalogue, run):
    users = tf.constant([[1.0, 0.0], [0.0, -1.0]])
    minus = -np.inf
    assert run(small)(users).numpy().tolist() == [[minus, 1, 3, 5, minus, minus], [minus, -2, -4, -6, minus, minus]]
    best = run(lambda vectors, exclude: small.top_k(vectors, 2, exclude))
    item_ids, scores = best(users, tf.constant([[3, 0], [0, 0]]))
    assert item_ids.numpy().tolist() == [[2, 1], [1, 2]]
    assert scores.numpy().tolist() == [[3, 1], [-2, -4]]
    assert small.top_k(users, 99)[0].numpy().tolist() == [[3, 2, 1], [1, 2, 3]]


def test_candidates_are_sampled_items_and_those_given():
    catalogue = Catalogue(ItemEmbedding(53, 1), n_negatives=4, seed=3)
    candidates = catalogue.draw_candidates(tf.constant([[7, 9, 0], [8, 0, 0]])).numpy()
    assert candidates.shape == (4 + 6,)
    assert candidates[4:].tolist() == [7, 9, 7, 8, 7, 7]  # an item in place of padding
    assert candidates.min() >= 1


def test_configuration():
    catalogue = Catalogue(ItemEmbedding(53, 2), n_negatives=4, seed=3)
    copy = Catalogue.from_config(catalogue.get_config())
    assert copy.get_config() == catalogue.get_config()
    assert (copy.n_items, copy.n_negatives) == (50, 4)
    assert copy.draw_negatives().numpy().tolist() == catalogue.draw_negatives().numpy().tolist()
