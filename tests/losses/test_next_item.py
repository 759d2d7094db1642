"""Next-item loss: worked by hand, specials without a share, huge logits."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses import next_item_loss
from laclrec_tf.losses.next_item import catalogue_logits, label_smoothing_term

# Three items of one dimension, scored by a vector 1 as 0, log 2 and log 4; PAD, EOS and MASK score high.
SMOOTHED_TABLE = np.array([[9.0], [0.0], [math.log(2)], [math.log(4)], [9.0], [9.0]], np.float32)
ONE = np.ones([1, 1], np.float32)
# Three items of one dimension, scored by a vector 1 as log 1, log 2 and log 5; PAD, EOS and MASK score high.
TABLE = np.array([[9.0], [0.0], [math.log(2)], [math.log(5)], [9.0], [9.0]], np.float32)


def test_worked_by_hand():
    # The mean logit is log 2: the three targets are log 2 below it, at it, and log 2 above it.
    leads = [float(label_smoothing_term(ONE, SMOOTHED_TABLE, np.array([target]))) for target in (1, 2, 3)]
    assert leads == pytest.approx([-math.log(2), 0.0, math.log(2)], abs=1e-6)


def test_positions_count_by_their_weight():
    vectors, targets = np.ones([3, 1], np.float32), np.array([1, 3, 0])
    lead = label_smoothing_term(vectors, SMOOTHED_TABLE, targets, weights=np.array([1.0, 3.0, 0.0]))
    assert float(lead) == pytest.approx((-math.log(2) + 3 * math.log(2)) / 4, abs=1e-6)


def test_no_positions_cost_nothing_with_smoothing():
    assert float(label_smoothing_term(np.zeros([0, 1], "f"), SMOOTHED_TABLE, np.zeros([0], int))) == 0.0


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


def test_next_item_loss_worked_by_hand():
    for target, share in ((1, 1 / 8), (2, 2 / 8), (3, 5 / 8)):
        loss = next_item_loss(ONE, TABLE, np.array([target]))
        assert float(loss) == pytest.approx(-math.log(share), abs=1e-6)


def test_the_loss_is_the_mean_over_positions():
    loss = next_item_loss(np.ones([3, 1], "f"), TABLE, np.array([1, 3, 3]))
    assert float(loss) == pytest.approx(-(math.log(1 / 8) + 2 * math.log(5 / 8)) / 3, abs=1e-6)


def test_specials_get_no_probability():
    # The shares of the items alone sum to 1, however high the specials score.
    shares = [math.exp(-float(next_item_loss(ONE, TABLE, np.array([item])))) for item in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-6)
    table = tf.Variable(TABLE)
    with tf.GradientTape() as tape:
        loss = next_item_loss(ONE, table, np.array([2]))
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    # An item's share less 1 at the target; nothing for PAD, EOS and MASK.
    assert gradient[:, 0] == pytest.approx([0, 1 / 8, 2 / 8 - 1, 5 / 8, 0, 0], abs=1e-6)


def test_eos_takes_part_when_it_is_allowed():
    table = TABLE.copy()
    table[4] = math.log(8)  # EOS weighs as much as the items together
    for target, share in ((2, 2 / 16), (4, 8 / 16)):
        loss = next_item_loss(ONE, table, np.array([target]), eos_allowed=True)
        assert float(loss) == pytest.approx(-math.log(share), abs=1e-6)


def test_no_positions_cost_nothing():
    assert float(next_item_loss(np.zeros([0, 1], "f"), TABLE, np.zeros([0], int))) == 0.0


def test_huge_logits_do_not_overflow():
    vectors, table = tf.Variable([[1e4]]), tf.Variable([[0.0], [1e4], [-1e4], [0.0], [0.0], [0.0]])
    with tf.GradientTape() as tape:
        loss = next_item_loss(vectors, table, tf.constant([2]))
    assert float(loss) == pytest.approx(2e8)
    to_vectors, to_table = (tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, [vectors, table]))
    assert to_vectors == pytest.approx(np.array([[2e4]]))
    assert to_table[:, 0] == pytest.approx([0, 1e4, -1e4, 0, 0, 0])


def test_catalogue_logits_are_the_items_scores_in_order_of_id():
    assert catalogue_logits(2 * ONE, TABLE).numpy() == pytest.approx(2 * TABLE[1:4].T)
    assert catalogue_logits(2 * ONE, TABLE, eos_allowed=True).numpy() == pytest.approx(2 * TABLE[1:5].T)
