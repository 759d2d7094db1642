"""The triplet loss: the authors' own value, and values worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses import triplet_loss

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["triplet"]


def test_triplet_loss_agrees_with_the_authors_code():
    raw, learned, random = (np.array(GOLDEN[name], "f") for name in ("raw", "learned_view", "random_view"))
    loss = float(triplet_loss(raw, learned, random))
    assert loss == pytest.approx(GOLDEN["loss_mean"], abs=1e-5)
    assert loss * len(raw) == pytest.approx(GOLDEN["loss_sum"], abs=1e-5)


def test_triplet_loss_worked_by_hand():
    # s(raw, learned) is 2 and 0, s(raw, random) is -1 and 0: log(1 + e^-3) and log 2.
    raw = np.array([[1, 2], [1, 0]], "f")
    learned = np.array([[0, 1], [0, 1]], "f")
    random = np.array([[1, -1], [0, -1]], "f")
    assert float(triplet_loss(raw, learned, random)) == pytest.approx((math.log1p(math.exp(-3)) + math.log(2)) / 2)


def test_a_learned_view_that_is_nearer_costs_less():
    raw, near, far = (np.array([[x, 1.0]], "f") for x in (1.0, 2.0, -2.0))
    assert float(triplet_loss(raw, near, far)) < math.log(2) < float(triplet_loss(raw, far, near))


def test_huge_similarities_do_not_overflow():
    # The ratio of exponentials would be inf / inf: the margins are -2e8 and 2e8.
    raw = tf.Variable([[1e4, 0.0], [1e4, 0.0]])
    learned, random = tf.Variable([[-1e4, 0.0], [1e4, 0.0]]), tf.Variable([[1e4, 0.0], [-1e4, 0.0]])
    with tf.GradientTape() as tape:
        loss = triplet_loss(raw, learned, random)
    assert float(loss) == pytest.approx(1e8)
    to_raw, to_learned, to_random = (g.numpy() for g in tape.gradient(loss, [raw, learned, random]))
    # Only the first history is wrong; half the gradient of its margin.
    assert to_raw == pytest.approx(np.array([[1e4, 0], [0, 0]], "f"))
    assert to_learned == pytest.approx(np.array([[-5e3, 0], [0, 0]], "f"))
    assert to_random == pytest.approx(np.array([[5e3, 0], [0, 0]], "f"))
