"""Label smoothing: worked by hand, Keras's own cross-entropy on a smoothed target, gradients, no positions."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses import next_item_loss
from laclrec_tf.losses.next_item import catalogue_logits, label_smoothing_term

# Three items of one dimension, scored by a vector 1 as 0, log 2 and log 4; PAD, EOS and MASK score high.
TABLE = np.array([[9.0], [0.0], [math.log(2)], [math.log(4)], [9.0], [9.0]], np.float32)
ONE = np.ones([1, 1], np.float32)


def test_worked_by_hand():
    # The mean logit is log 2: the three targets are log 2 below it, at it, and log 2 above it.
    leads = [float(label_smoothing_term(ONE, TABLE, np.array([target]))) for target in (1, 2, 3)]
    assert leads == pytest.approx([-math.log(2), 0.0, math.log(2)], abs=1e-6)


def test_positions_count_by_their_weight():
    vectors, targets = np.ones([3, 1], np.float32), np.array([1, 3, 0])
    lead = label_smoothing_term(vectors, TABLE, targets, weights=np.array([1.0, 3.0, 0.0]))
    assert float(lead) == pytest.approx((-math.log(2) + 3 * math.log(2)) / 4, abs=1e-6)


def test_no_positions_cost_nothing():
    assert float(label_smoothing_term(np.zeros([0, 1], "f"), TABLE, np.zeros([0], int))) == 0.0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_with_the_next_item_loss_it_is_cross_entropy_against_smoothed_labels(share):
    draw = np.random.default_rng(7)
    table = tf.Variable(draw.normal(size=[9, 4]).astype("f"))  # six items
    vectors = tf.Variable(draw.normal(size=[5, 4]).astype("f"))
    targets = np.array([1, 6, 3, 3, 2])
    with tf.GradientTape(persistent=True) as tape:
        loss = next_item_loss(vectors, table, targets) + share * label_smoothing_term(vectors, table, targets)
        labels = tf.one_hot(targets - 1, 6)
        logits = catalogue_logits(vectors, table)
        expected = tf.reduce_mean(
            keras.losses.categorical_crossentropy(labels, logits, from_logits=True, label_smoothing=share)
        )
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for variable in (vectors, table):
        ours, theirs = (tf.convert_to_tensor(tape.gradient(value, variable)).numpy() for value in (loss, expected))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
