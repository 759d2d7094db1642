"""A calibrated model's edits: evidence deletes, the head inserts where it is sure, and events are never lost."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.layers.deletion_evidence import COEFFICIENTS, NO_DELETION
from laclrec_tf.layers.sequence_augmenter import NO_INSERTION
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP

N_ITEMS = 20
HISTORIES = np.random.default_rng(3).integers(1, N_ITEMS + 1, [12, 9]).astype(np.int32)
HISTORIES[1, 4:] = 0
HISTORIES[2, 1:] = 0
REAL = HISTORIES > 0


@pytest.fixture
def model() -> LACLRec:
    """A model that deletes the rarer half of the items, because popularity is its only evidence."""
    model = LACLRec(N_ITEMS, max_length=9, max_edited_length=12, width=8, seed=1)
    model.mixture.set_popularity(np.arange(1, N_ITEMS + 1))
    weights = dict.fromkeys(COEFFICIENTS, 0.0) | {"bias": -3.0, "log_popularity": -1.0}
    model.evidence.coefficients.assign([weights[name] for name in COEFFICIENTS])
    model.evidence.threshold.assign(1 / (1 + np.exp(-log_odds(10.5))))
    return model


def log_odds(item: float) -> float:
    return -3.0 - np.log(item / 210)  # 210 = 1 + 2 + ... + 20


def test_evidence_decides_what_is_deleted(model):
    edits = model.edit(HISTORIES)
    operations = edits.operations.numpy()
    assert ((operations == DELETE) == (REAL & (HISTORIES <= 10))).all()
    shares = edits.probabilities.numpy()
    expected = 1 / (1 + np.exp(-np.array([log_odds(item) for item in HISTORIES[0]])))
    np.testing.assert_allclose(shares[0, :, DELETE], expected, rtol=1e-4)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-5)
    # KEEP and INSERT share the rest as the head has them.
    head = tf.nn.softmax(model.augmenter(model.augmenter.encode(model.encoder, HISTORIES, training=False))).numpy()
    np.testing.assert_allclose(
        (shares[..., INSERT] / shares[..., KEEP])[REAL], (head[..., INSERT] / head[..., KEEP])[REAL], rtol=1e-4
    )


def test_all_noise_leaves_the_last_event(model):
    model.evidence.threshold.assign(0.0)
    edits = model.edit(HISTORIES)
    last = HISTORIES[np.arange(12), REAL.sum(axis=1) - 1]
    assert edits.edited.numpy().tolist() == [[item] + [0] * 11 for item in last]


def test_an_edited_history_is_as_the_model_was_calibrated(model):
    model.evidence.threshold.assign(NO_DELETION)
    model.augmenter.insertion_threshold.assign(NO_INSERTION)
    assert model.edit(HISTORIES).edited[:, :9].numpy().tolist() == HISTORIES.tolist()
    assert model.edit(HISTORIES, decision="noise").edited[:, :9].numpy().tolist() == HISTORIES.tolist()


def test_a_model_that_may_not_delete_has_no_probability_of_it():
    model = LACLRec(N_ITEMS, width=8, can_delete=False)
    model.evidence.coefficients.assign(np.full(12, 5.0))
    model.evidence.threshold.assign(0.0)
    edits = model.edit(HISTORIES)
    assert not (edits.operations.numpy() == DELETE).any()
    assert not edits.probabilities.numpy()[..., DELETE].any()


def test_items_are_inserted_above_the_threshold(model):
    model.evidence.threshold.assign(NO_DELETION)
    logits = model.augmenter(model.augmenter.encode(model.encoder, HISTORIES, training=False)).numpy()
    insert = 1 / (1 + np.exp(logits[..., KEEP] - logits[..., INSERT]))
    threshold = float(np.median(insert[REAL]))
    model.augmenter.insertion_threshold.assign(threshold)
    edits = model.edit(HISTORIES)
    inserts = edits.operations.numpy() == INSERT
    assert inserts.any() and not (inserts & ~(REAL & (insert > threshold))).any()
    # Where the head is sure and still nothing is inserted, the run is empty, repeats an item, or has no room.
    assert (edits.insertions.numpy()[inserts].max(axis=1) > 0).all()


def test_no_item_is_inserted_twice_and_no_event_is_lost(model):
    model.evidence.threshold.assign(NO_DELETION)
    model.augmenter.insertion_threshold.assign(0.0)
    history = np.stack([np.random.default_rng(row).permutation(N_ITEMS)[:9] + 1 for row in range(20)]).astype(np.int32)
    for row, edited in zip(history, model.edit(history).edited.numpy(), strict=True):
        items = edited[edited > 0].tolist()
        assert len(items) == len(set(items))
        assert [item for item in items if item in row] == row.tolist()


def test_a_graph_edits_alike(model):
    model.augmenter.insertion_threshold.assign(0.3)
    traced = tf.function(lambda ids: tuple(model.edit(ids)), input_signature=[tf.TensorSpec([None, None], tf.int32)])
    for histories in (HISTORIES, HISTORIES[:3, :5]):
        for graph, eager in zip(traced(histories), model.edit(histories), strict=True):
            np.testing.assert_allclose(graph, eager, atol=1e-5)


def test_training_edits_with_the_head(model):
    edits = model.learned_edits(HISTORIES)
    head = model.augmenter.edit(model.encoder, HISTORIES)
    assert edits.operations.numpy().tolist() == head.operations.numpy().tolist()
    assert edits.edited.numpy().tolist() == head.edited.numpy().tolist()
