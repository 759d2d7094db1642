"""Counted models: their scores, worked by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.models import CountModel
from laclrec_tf.models.baselines import TIE_WEIGHT

# Items 1..4; 3 is the most popular one. The followers of 1 are 2 and 3, that of 2 is 4, that of 3 is 1.
BY_POPULARITY = np.array([3, 1, 4, 2])
POPULARITY = np.array([0.75, 0.25, 1.0, 0.5])
NEIGHBOURS = np.array([[2, 3], [4, 0], [1, 0], [0, 0]])
WEIGHTS = np.array([[0.5, 0.25], [1.0, 0.0], [0.8, 0.0], [0.0, 0.0]])


def counted(**arguments) -> CountModel:
    model = CountModel(4, n_neighbours=2, **arguments)
    tables = (NEIGHBOURS, WEIGHTS) if model.has_neighbours else ()
    model.set_counts(BY_POPULARITY, *tables)
    return model


WHOLE = counted()


def scores(model: CountModel, history: list[int]) -> np.ndarray:
    return model(np.array([history])).numpy()[0, 1:-2]


def test_without_a_window_popularity_decides():
    np.testing.assert_allclose(scores(counted(n_last=0), [1, 2]), POPULARITY)


def test_a_window_of_one_reads_the_last_item():
    np.testing.assert_allclose(
        scores(counted(n_last=1), [2, 1, 0]), [0, 0.5, 0.25, 0] + TIE_WEIGHT * POPULARITY, rtol=1e-6
    )


def test_followers_of_older_items_decay():
    # Item 2 has the age 0, item 3 the age 1 and item 1 the age 2.
    expected = [0.8 / 2, 0.5 / 3, 0.25 / 3, 1.0] + TIE_WEIGHT * POPULARITY
    np.testing.assert_allclose(scores(counted(), [1, 3, 2]), expected, rtol=1e-6)
    expected = [0.8 / 4, 0, 0, 1.0] + TIE_WEIGHT * POPULARITY
    np.testing.assert_allclose(scores(counted(n_last=2, decay=2.0), [1, 3, 2]), expected, rtol=1e-6)


def test_a_repeated_item_counts_where_it_is_newest():
    np.testing.assert_allclose(
        scores(counted(), [1, 2, 1]), [0, 0.5, 0.25, 1.0 / 2] + TIE_WEIGHT * POPULARITY, rtol=1e-6
    )


def test_without_followers_the_newest_items_come_first_and_then_the_popular_ones():
    model = counted(max_distance=0)
    item_ids, _ = model.recommend([[4, 2, 4], [2]], k=4, exclude_history=False)
    assert item_ids.numpy().tolist() == [[4, 2, 3, 1], [2, 3, 1, 4]]
    assert model.recommend([[4, 2, 4]], k=4)[0].numpy().tolist() == [[3, 1, 0, 0]]


def test_the_last_max_length_items_are_read():
    np.testing.assert_allclose(scores(counted(max_length=2), [3, 2, 1]), scores(counted(), [2, 1]))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 3), st.integers(0, 3))
def test_padding_anywhere_and_other_rows_change_nothing(history, before, behind):
    rows = [
        [0] * before + history + [0] * behind,
        ([1, 2, 3, 4] * 3)[: before + len(history) + behind],
    ]
    alone = scores(WHOLE, history or [0])
    np.testing.assert_allclose(WHOLE(np.array(rows, np.int32)).numpy()[0, 1:-2], alone, rtol=1e-6)


def test_no_two_items_have_the_same_popularity_term():
    model = CountModel(20_000, n_last=1, n_neighbours=1)
    item_ids = np.arange(1, 20_001)
    model.set_counts(item_ids, np.ones((20_000, 1), int), np.zeros((20_000, 1)))
    assert len(np.unique(model([[5]]).numpy()[0, 1:-2])) == 20_000


def test_a_model_is_saved_with_its_counts(tmp_path):
    model = counted(n_last=3, decay=0.5, discount=0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert repr(loaded) == repr(model)
    assert loaded.get_config() == model.get_config()
    tf.debugging.assert_equal(loaded([[1, 3, 2]]), model([[1, 3, 2]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_last": -1}, "`n_last` must be 0 or above"),
        ({"n_last": 1.5}, "`n_last` must be a whole number"),
        ({"n_neighbours": 0}, "`n_neighbours` must be 1 or above"),
        ({"decay": float("nan")}, "`decay` must be 0 or above, and finite"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CountModel(4, **arguments)


def test_nothing_is_mixed():
    with pytest.raises(ValueError, match="`edits` must be 'none'"):
        counted().scores_of(tf.constant([[1]]), "uniform")
