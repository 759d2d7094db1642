"""The augmenter's two losses: the authors' own values, and values worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses import insertion_loss, operation_loss

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["augmenter_loss"]
LOG_3 = math.log(3.0)


def f32(values) -> np.ndarray:
    return np.array(values, np.float32)


def test_operation_loss_agrees_with_the_authors_code():
    mask = np.array(GOLDEN["corrupted"]) != GOLDEN["pad"]
    loss = operation_loss(f32(GOLDEN["operation_logits"]), np.array(GOLDEN["operation_labels"]), mask)
    assert float(loss) == pytest.approx(GOLDEN["operation_loss"], abs=1e-5)


def test_insertion_loss_agrees_with_the_authors_code():
    loss = insertion_loss(f32(GOLDEN["insertion_logits"]), np.array(GOLDEN["insertion_labels"]))
    assert float(loss) == pytest.approx(GOLDEN["insertion_loss"], abs=1e-5)


def test_operation_loss_averages_over_real_positions_worked_by_hand():
    # Shares 1/2, 1/4, 1/4 of the first position; equal shares of the second; the third is padding.
    logits = f32([[[math.log(2), 0, 0], [0, 0, 0], [100, 0, -100]]])
    operations, mask = np.array([[1, 2, 2]]), np.array([[True, True, False]])
    assert float(operation_loss(logits, operations, mask)) == pytest.approx((math.log(4) + LOG_3) / 2)


def test_insertion_loss_averages_over_targets_not_over_positions():
    # Two targets at the first position (EOS 3 counts), none at the second: (log 4 + 0) / 2.
    logits = np.zeros([1, 2, 2, 4], np.float32)
    logits[0, 0, 1, 3] = 100.0
    logits[0, 1] = [[50, -50, 0, 0], [50, -50, 0, 0]]
    loss = insertion_loss(logits, np.array([[[2, 3], [0, 0]]]))
    assert float(loss) == pytest.approx(math.log(4) / 2, abs=1e-6)


def test_nothing_to_learn_from_is_0():
    assert float(operation_loss(np.ones([1, 2, 3], "f"), np.array([[1, 2]]), np.zeros([1, 2], bool))) == 0.0
    assert float(insertion_loss(np.ones([1, 2, 4], "f"), np.zeros([1, 2], int))) == 0.0
    assert float(operation_loss(np.ones([0, 2, 3], "f"), np.ones([0, 2], int), np.zeros([0, 2], bool))) == 0.0


def test_huge_logits_do_not_overflow_and_padding_gets_no_gradient():
    logits = tf.Variable([[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]])
    with tf.GradientTape() as tape:
        loss = operation_loss(logits, tf.constant([[1, 2]]), tf.constant([[True, False]]))
    assert float(loss) == pytest.approx(2e4)
    gradient = tape.gradient(loss, logits).numpy()
    assert gradient[0] == pytest.approx(f32([[1, -1, 0], [0, 0, 0]]), abs=1e-6)
