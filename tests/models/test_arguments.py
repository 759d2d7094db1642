"""Histories in every form give the answer of the packed history, or are refused in one line."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from laclrec_tf.data.batches import evaluation_dataset, training_dataset
from laclrec_tf.models import LACLRec, build_preset
from laclrec_tf.models.arguments import default_max_edited_length

N_ITEMS, MAX_LENGTH = 20, 6


@pytest.fixture(scope="module")
def model() -> LACLRec:
    keras.utils.set_random_seed(1)
    model = LACLRec(N_ITEMS, width=8, max_length=MAX_LENGTH, dropout=0.0, seed=2)
    for embedding in (model.encoder.item_embedding, model.encoder.position_embedding):
        embedding.set_weights([50 * weights for weights in embedding.get_weights()])
    return model


def every_answer(model: LACLRec, history) -> list[np.ndarray]:
    """Return the answers of all entries that take histories."""
    item_ids, scores = model.recommend(history, k=3)
    edits = model.edit(history)
    traced = tf.function(lambda ids: model(ids))(tf.constant(history)) if isinstance(history, np.ndarray) else None
    answers = [model(history), item_ids, scores, edits.edited]
    return [np.asarray(each) for each in [*answers, *([] if traced is None else [traced])]]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for ours, theirs in zip(found, expected, strict=False):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


PACKED = np.array([[5, 6, 7, 0], [9, 0, 0, 0]])


@pytest.fixture(scope="module")
def packed_answers(model):
    return every_answer(model, PACKED)


@pytest.mark.parametrize(
    "history",
    [
        np.array([[0, 5, 6, 7], [0, 0, 0, 9]]),
        np.array([[5, 0, 6, 7], [0, 9, 0, 0]]),
        np.array([[0, 0, 5, 0, 6, 0, 7, 0, 0], [0] * 8 + [9]]),
        [[5, 6, 7], [9]],
        ((5, 6, 7), (9,)),
        tf.ragged.constant([[5, 6, 7], [9]]),
        {"history": PACKED},
        PACKED.astype(np.int64),
        PACKED.astype(np.uint8),
    ],
    ids=["left-padded", "zeros inside", "wide", "lists", "tuples", "ragged", "batch", "int64", "uint8"],
)
def test_a_history_in_another_form_gives_the_same_answer(model, packed_answers, history):
    same(every_answer(model, history), packed_answers)
    np.testing.assert_allclose(model.predict(history, verbose=0), model(PACKED), atol=1e-5)


@settings(max_examples=5, deadline=None)
@given(items=st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=3 * MAX_LENGTH))
def test_a_long_history_is_cut_to_its_last_items(model, items):
    last = np.array([items[-MAX_LENGTH:]])
    same([np.asarray(model(np.array([items])))], [np.asarray(model(last))])
    same([np.asarray(model.edit(np.array([items])).edited)], [np.asarray(model.edit(last).edited)])
    # All of its items are excluded, also those that are not read.
    assert not set(model.recommend([items], k=N_ITEMS)[0].numpy().ravel()) & set(items)


def test_every_entry_cuts_a_long_history(model):
    long, cut = [np.arange(1, 15)], [np.arange(9, 15)]
    targets = np.array([17])
    model.compile()
    metrics = [
        model.evaluate(evaluation_dataset(histories, targets), verbose=0, return_dict=True)["mrr@20"]
        for histories in (long, cut)
    ]
    excluded = 8  # items that only the long history excludes
    assert 1 / metrics[0] <= 1 / metrics[1] <= 1 / metrics[0] + excluded
    np.testing.assert_allclose(
        model.predict(np.array(long), verbose=0), model.predict(np.array(cut), verbose=0), atol=1e-5
    )
    batch = next(iter(training_dataset(long, **model.batch_requirements)))
    assert batch["history"].numpy().tolist() == [[8, 9, 10, 11, 12, 13]]
    assert batch["target"].numpy().tolist() == [[9, 10, 11, 12, 13, 14]]


def test_a_batch_of_longer_histories_is_refused(model):
    needs = model.batch_requirements | {"max_length": None}
    model.compile(run_eagerly=True)
    with pytest.raises(Exception, match="histories of at most 6 items"):
        model.fit(training_dataset([np.arange(1, 15)] * 3, **needs), verbose=0)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([[5, 6.5]], r"a list of histories, each a list of integer item ids.*Received: \[5.0, 6.5\] as a history"),
        ([["tent"]], r"integer item ids.*Received: \['tent'\] as a history"),
        ([5, 6], "Received: 5 as a history"),
        (np.array([[5.0, 6.0]]), "must be integer item ids. Received: dtype float"),
        (np.array([5, 6]), r"of shape \[B, L\]. Received: shape \(2,\)"),
        ("tent", r"must be item ids of shape \[B, L\]. Received: a str"),
        ({"items": PACKED}, "must have the key `history`. Received: items"),
        (np.array([[5, -1]]), "1 to 20, and 0 for padding. Received: -1"),
        (np.array([[5, 99]]), "1 to 20, and 0 for padding. Received: 99"),
        ([[2**32 + 5, 6, 7]], "1 to 20, and 0 for padding. Received: 4294967301"),
        ([np.array([5]), np.array([2**64 - 1], np.uint64)], "1 to 20, and 0 for padding. Received: 18446744073709551"),
        (np.array([[2**32 + 5]]), "1 to 20, and 0 for padding. Received: 4294967301"),
        (np.array([[2**32 + 5]], np.uint64), "1 to 20, and 0 for padding. Received: 4294967301"),
        (tf.constant([[2**64 - 1]], tf.uint64), "1 to 20, and 0 for padding. Received: 18446744073709551615"),
        (pd.DataFrame([[5, 6, 7]]), "Received: a DataFrame. Give an array"),
        (pl.DataFrame([[5, 6, 7]]), "Received: a DataFrame. Give an array"),
        (pd.Series([[5, 6, 7]]), r"of shape \[B, L\]. Received: shape \(1,\)"),
        (pl.Series([[5, 6, 7]]), r"of shape \[B, L\]. Received: shape \(1,\)"),
    ],
)
def test_what_is_no_history_is_refused(model, history, message):
    for entry in (model, model.recommend, model.edit):
        with pytest.raises(ValueError, match=message) as raised:
            entry(history)
        assert "\n" not in str(raised.value)


def test_a_training_batch_that_is_not_right_padded_is_refused():
    model = build_preset("sasrec", n_items=N_ITEMS, width=8)
    model.compile()
    for history in ([[0, 0, 5, 6, 7]], [[5, 0, 6, 0, 7]]):
        batch = {"history": np.array(history, np.int32), "target": np.array(history, np.int32)}
        with pytest.raises(ValueError, match=r"must be right-padded: no 0 before an item.*leaves padding") as raised:
            model.losses_of(batch)
        assert "\n" not in str(raised.value)
    for train in (model.train_on_batch, lambda batch: model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be right-padded: no 0 before an item"):
            train(batch)
    # A 0 among the targets is a position that does not count.
    right = {"history": np.array([[5, 6, 7, 0]], np.int32), "target": np.array([[0, 0, 8, 0]], np.int32)}
    assert np.isfinite(model.train_on_batch(right)).all()
    with pytest.raises(ValueError, match="ids of this model's items, 1 to 20, and 0 for padding. Received: 99"):
        model.losses_of(right | {"history": np.array([[5, 99]], np.int32)})


@pytest.mark.parametrize("k", [2.5, "3", None, [3], np.float64(2.0)])
def test_a_number_of_items_that_is_no_integer_is_refused(model, k):
    with pytest.raises(ValueError, match=r"`k` must be a whole number. Received: k=") as raised:
        model.recommend([[5, 6, 7]], k=k)
    assert repr(k) in str(raised.value) and "\n" not in str(raised.value)


def test_a_table_is_no_history_of_predict(model):
    for table in (pd.DataFrame([[5, 6, 7]]), pl.DataFrame([[5, 6, 7]])):
        with pytest.raises(ValueError, match="Received: a DataFrame. Give an array"):
            model.predict(table, verbose=0)


@pytest.mark.parametrize("given", [{"n_items": "20"}, {"n_items": 20.5}, {"width": 8.0}, {"max_edited_length": "60"}])
def test_a_count_that_is_no_integer_is_refused(given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number. Received: {name}={value!r}"):
        LACLRec(**{"n_items": N_ITEMS, "width": 8} | given)


def test_a_number_of_items_may_be_any_integer(model):
    expected = model.recommend([[5, 6, 7]], k=3)[0].numpy().tolist()
    for k in (np.int64(3), np.array(3), tf.constant(3)):
        assert model.recommend([[5, 6, 7]], k=k)[0].numpy().tolist() == expected


def test_edited_histories_may_be_longer_than_long_histories():
    assert [default_max_edited_length(length) for length in (10, 50, 51, 200)] == [60, 60, 62, 240]
    model = LACLRec(5, width=8, max_length=100)
    assert model.max_edited_length == 120
    assert LACLRec.from_config(model.get_config()).max_edited_length == 120


def test_places_that_no_item_fills_are_left_out(model):
    seen = list(range(1, N_ITEMS - 1))  # all but two
    item_ids, scores = model.recommend([seen], k=5)
    assert sorted(item_ids.numpy()[0]) == [N_ITEMS - 1, N_ITEMS] and np.isfinite(scores).all()
    item_ids, scores = model.recommend([seen, [1]], k=5)
    assert item_ids[0, 2:].numpy().tolist() == [0, 0, 0] and np.isneginf(scores[0, 2:]).all()
    assert (item_ids[1].numpy() > 1).all()
    assert model.recommend([list(range(1, N_ITEMS + 1))], k=5)[0].shape == (1, 0)
    in_graph = tf.function(lambda ids: model.recommend(ids, k=5))(tf.constant([seen]))
    assert in_graph[0].numpy()[0, 2:].tolist() == [0, 0, 0]


def test_broken_weights_do_not_recommend():
    broken = LACLRec(N_ITEMS, width=8)
    broken.item_vectors.assign(np.full((N_ITEMS + 3, 8), np.nan))
    with pytest.raises(ValueError, match="scores are NaN: .*weights are broken"):
        broken.recommend([[5]])
