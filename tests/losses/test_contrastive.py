"""InfoNCE: the authors' own values, and values worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses import info_nce, triplet_loss

TRIPLET_GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["triplet"]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["info_nce"]
VIEW_1, VIEW_2 = (np.array(GOLDEN[name], np.float32) for name in ("view_1", "view_2"))


def test_triplet_loss_agrees_with_the_authors_code():
    raw, learned, random = (np.array(TRIPLET_GOLDEN[name], "f") for name in ("raw", "learned_view", "random_view"))
    loss = float(triplet_loss(raw, learned, random))
    assert loss == pytest.approx(TRIPLET_GOLDEN["loss_mean"], abs=1e-5)
    assert loss * len(raw) == pytest.approx(TRIPLET_GOLDEN["loss_sum"], abs=1e-5)


def test_triplet_loss_worked_by_hand():
    # s(raw, learned) is 2 and 0, s(raw, random) is -1 and 0: log(1 + e^-3) and log 2.
    raw = np.array([[1, 2], [1, 0]], "f")
    learned = np.array([[0, 1], [0, 1]], "f")
    random = np.array([[1, -1], [0, -1]], "f")
    assert float(triplet_loss(raw, learned, random)) == pytest.approx((math.log1p(math.exp(-3)) + math.log(2)) / 2)


def test_a_learned_view_that_is_nearer_costs_less():
    raw, near, far = (np.array([[x, 1.0]], "f") for x in (1.0, 2.0, -2.0))
    assert float(triplet_loss(raw, near, far)) < math.log(2) < float(triplet_loss(raw, far, near))


def test_huge_similarities_do_not_overflow_the_triplet():
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


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "loss_mean"),
        ({"temperature": 0.5, "similarity": "dot"}, "loss_mean_temperature_0.5"),
        ({"temperature": 0.5, "similarity": "cosine"}, "loss_mean_cosine_temperature_0.5"),
    ],
)
def test_info_nce_agrees_with_the_authors_code(arguments: dict, name: str):
    assert float(info_nce(VIEW_1, VIEW_2, **arguments)) == pytest.approx(GOLDEN[name], abs=1e-5)


def test_info_nce_worked_by_hand():
    # Four vectors a = (1, 0), b = (0, 1), a' = (2, 0), b' = (0, 3); each has its own view and two others.
    # a: a.a' = 2, others 0 and 0: log(e^2 + 2) - 2, as for a'. b: b.b' = 3: log(e^3 + 2) - 3, as for b'.
    loss = info_nce(np.array([[1, 0], [0, 1]], "f"), np.array([[2, 0], [0, 3]], "f"))
    by_hand = (math.log(math.e**2 + 2) - 2 + math.log(math.e**3 + 2) - 3) / 2
    assert float(loss) == pytest.approx(by_hand, abs=1e-6)


def test_the_views_may_change_places():
    assert float(info_nce(VIEW_1, VIEW_2)) == pytest.approx(float(info_nce(VIEW_2, VIEW_1)), abs=1e-6)


def test_cosine_does_not_depend_on_lengths():
    scaled = info_nce(VIEW_1 * 7, VIEW_2 * np.arange(1, 7, dtype="f")[:, None], similarity="cosine")
    assert float(scaled) == pytest.approx(float(info_nce(VIEW_1, VIEW_2, similarity="cosine")), abs=1e-5)


def test_a_batch_of_one_has_no_negatives_and_costs_nothing():
    assert float(info_nce(VIEW_1[:1], VIEW_2[:1])) == pytest.approx(0.0, abs=1e-6)


def test_huge_similarities_do_not_overflow():
    view_1, view_2 = tf.Variable(VIEW_1 * 1e3), tf.Variable(VIEW_2 * 1e3)
    with tf.GradientTape() as tape:
        loss = info_nce(view_1, view_2)
    assert np.isfinite(float(loss)) and float(loss) > 1e4
    assert all(np.isfinite(g.numpy()).all() for g in tape.gradient(loss, [view_1, view_2]))


def test_cosine_of_a_zero_vector_has_a_finite_gradient():
    view = tf.Variable(np.zeros([2, 3], "f"))
    with tf.GradientTape() as tape:
        loss = info_nce(view, tf.ones([2, 3]), similarity="cosine")
    assert np.isfinite(tape.gradient(loss, view).numpy()).all()


def test_both_views_are_pulled():
    view_1, view_2 = tf.Variable(VIEW_1), tf.Variable(VIEW_2)
    with tf.GradientTape() as tape:
        loss = info_nce(view_1, view_2)
    for view, gradient in zip((view_1, view_2), tape.gradient(loss, [view_1, view_2]), strict=True):
        view.assign_sub(0.1 * gradient)
        assert np.abs(gradient.numpy()).max(axis=1).min() > 1e-3
    assert float(info_nce(view_1, view_2)) < float(loss)


@pytest.mark.parametrize(
    ("arguments", "received"),
    [({"similarity": "euclid"}, "similarity='euclid'"), ({"temperature": 0.0}, "temperature=0.0")],
)
def test_arguments_out_of_range_are_refused(arguments: dict, received: str):
    with pytest.raises(ValueError, match=f"Received: {received}"):
        info_nce(VIEW_1, VIEW_2, **arguments)
