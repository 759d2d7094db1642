"""Sampled softmax: worked by hand, against TFRS's layers and TensorFlow's own, and what it estimates."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.losses.cross_entropy import catalogue_cross_entropy
from laclrec_tf.losses.sampled_softmax import draw_negatives, log_expected_count, sampled_softmax_loss

GENERATOR = np.random.default_rng(1)
N_ITEMS = 9
TABLE = GENERATOR.normal(size=[N_ITEMS + 3, 4]).astype("float32")
VECTORS = GENERATOR.normal(size=[6, 4]).astype("float32")
TARGETS = np.array([1, 9, 3, 3, 5, 2], np.int32)


def counts(ids, n_negatives: int) -> np.ndarray:
    return np.log(n_negatives * np.log1p(1 / np.asarray(ids, float)) / math.log(N_ITEMS + 1))


def test_the_loss_worked_by_hand():
    # Three items, one position with the scores 1, 0 and 2; the target is item 1, the sample is 3, 3 and 1.
    table = tf.constant([[9.0], [1.0], [0.0], [2.0], [9.0], [9.0]])
    loss = sampled_softmax_loss(tf.constant([[1.0]]), table, tf.constant([1]), tf.constant([3, 3, 1]))
    other = 2 - math.log(3 * math.log(4 / 3) / math.log(4))
    # The sampled target is no negative; item 3 counts as often as it was drawn.
    expected = math.log(math.exp(1) + 2 * math.exp(other)) - 1
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_eos_is_always_a_candidate_and_certain():
    table = tf.constant([[9.0], [1.0], [0.0], [2.0], [3.0], [9.0]])
    asked = {"vectors": tf.constant([[1.0]]), "item_table": table, "negatives": tf.constant([2])}
    against_two = 0 - math.log(math.log(1.5) / math.log(4))
    loss = sampled_softmax_loss(targets=tf.constant([4]), eos_allowed=True, **asked)
    assert float(loss) == pytest.approx(math.log(math.exp(3) + math.exp(against_two)) - 3, abs=1e-6)
    loss = sampled_softmax_loss(targets=tf.constant([1]), eos_allowed=True, **asked)
    assert float(loss) == pytest.approx(math.log(math.exp(1) + math.exp(against_two) + math.exp(3)) - 1, abs=1e-6)


def test_it_agrees_with_tensorflows_own():
    negatives = np.array([2, 7, 4, 1], np.int64)
    # The target is among the candidates once, for certain.
    expected_counts = np.ones([6, 1], "float32"), np.exp(counts(negatives, 4)).astype("float32")
    theirs = tf.nn.sampled_softmax_loss(
        weights=TABLE,
        biases=tf.zeros([len(TABLE)]),
        labels=TARGETS[:, None].astype(np.int64),
        inputs=VECTORS,
        num_sampled=4,
        num_classes=len(TABLE),
        sampled_values=(negatives, *expected_counts),
    )
    ours = sampled_softmax_loss(VECTORS, TABLE, TARGETS, negatives)
    assert float(ours) == pytest.approx(float(tf.reduce_mean(theirs)), abs=1e-5)


def test_it_agrees_with_the_layers_of_tensorflow_recommenders():
    """TFRS wants Keras 2 behind `tf.keras`, so it gets a process of its own."""
    negatives = np.array([2, 3, 3, 1], np.int32)
    script = f"""
        import os
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import numpy as np
        import tensorflow as tf
        from tensorflow_recommenders.layers.loss import RemoveAccidentalHits, SamplingProbablityCorrection

        table, vectors = np.array({TABLE.tolist()}, "float32"), np.array({VECTORS.tolist()}, "float32")
        losses = []
        for vector, target in zip(vectors, {TARGETS.tolist()}):
            ids = tf.constant([target, *{negatives.tolist()}])
            labels = tf.one_hot([0], len(ids))
            logits = tf.constant(vector[None]) @ tf.transpose(tf.gather(table, ids))
            drawn = 4 * tf.math.log1p(1 / tf.cast(ids[1:], tf.float32)) / np.log({N_ITEMS + 1})
            expected = tf.concat([[1.0], drawn], 0) / 10  # the layer wants probabilities; a factor changes nothing
            logits = SamplingProbablityCorrection()(logits, expected)
            logits = RemoveAccidentalHits()(labels, logits, ids)
            losses.append(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
        print("loss", float(tf.reduce_mean(losses)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = float(done.stdout.split("loss")[-1])
    assert float(sampled_softmax_loss(VECTORS, TABLE, TARGETS, negatives)) == pytest.approx(theirs, abs=1e-5)


def test_it_estimates_the_loss_over_the_whole_catalogue():
    whole = float(catalogue_cross_entropy(VECTORS, TABLE, TARGETS, specials=(1, 2)))
    estimates = []
    for seed in range(200):
        uniform = tf.random.stateless_uniform([400], [seed, 0], dtype=tf.float64)
        estimates.append(float(sampled_softmax_loss(VECTORS, TABLE, TARGETS, draw_negatives(uniform, N_ITEMS))))
    assert np.mean(estimates) == pytest.approx(whole, rel=0.005)


def test_positions_without_weight_do_not_count_even_with_padding_for_a_target():
    negatives = tf.constant([4, 6])
    both = sampled_softmax_loss(VECTORS[:2], TABLE, np.array([3, 0]), negatives, weights=tf.constant([1.0, 0.0]))
    one = sampled_softmax_loss(VECTORS[:1], TABLE, np.array([3]), negatives)
    assert float(both) == pytest.approx(float(one), abs=1e-6)


def test_no_positions_cost_nothing():
    assert float(sampled_softmax_loss(tf.zeros([0, 4]), TABLE, tf.zeros([0], tf.int32), tf.constant([1]))) == 0.0


def test_only_the_rows_of_targets_and_negatives_get_a_gradient():
    table = tf.Variable(TABLE)
    with tf.GradientTape() as tape:
        loss = sampled_softmax_loss(VECTORS[:2], table, TARGETS[:2], tf.constant([4, 6]))
    gradient = tape.gradient(loss, table)
    assert isinstance(gradient, tf.IndexedSlices)
    assert set(gradient.indices.numpy()) == {1, 9, 4, 6}


@given(uniform=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20), n=st.integers(1, 10**7))
def test_drawn_ids_are_items(uniform, n):
    drawn = draw_negatives(tf.constant(uniform, tf.float64), n).numpy()
    assert ((drawn >= 1) & (drawn <= n)).all()


def test_items_are_drawn_as_often_as_their_expected_count_says():
    n_draws = 200_000
    drawn = draw_negatives(tf.random.stateless_uniform([n_draws], [1, 2], dtype=tf.float64), N_ITEMS).numpy()
    ids = np.arange(1, N_ITEMS + 1)
    expected = np.exp(log_expected_count(tf.constant(ids), N_ITEMS, n_draws).numpy())
    assert expected.sum() == pytest.approx(n_draws, rel=1e-5)
    # Four standard deviations of a binomial count.
    assert np.abs(np.bincount(drawn, minlength=N_ITEMS + 1)[1:] - expected).max() < 4 * math.sqrt(n_draws / 4)


def test_numbers_of_too_few_digits_are_refused():
    with pytest.raises(ValueError, match="`uniform` must be float64, drawn as such. Received: float32"):
        draw_negatives(tf.constant([0.5], tf.float32), N_ITEMS)
