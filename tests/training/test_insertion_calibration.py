"""The calibration of insertions: thresholds by hand, and the model's weight."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.layers.sequence_augmenter import NO_INSERTION
from laclrec_tf.models import build_preset
from laclrec_tf.ops.edits import INSERT
from laclrec_tf.training.insertion_calibration import calibrate_insertions, choose_insertion_threshold, set_insertions


def test_half_of_the_places_must_be_right():
    probabilities = np.array([0.95, 0.85, 0.75, 0.65, 0.25, 0.15])
    removed = np.array([1, 0, 0, 0, 1, 1], bool)
    found = choose_insertion_threshold(probabilities, removed, np.full(4, 0.1))
    # Above 0.15 two of five, above 0.25 one of four, above 0.75 one of two.
    assert found == {"threshold": 0.75, "prior": 0.5, "precision": 0.5, "recall": pytest.approx(1 / 3), "rate": 0}


def test_no_more_is_inserted_than_the_corruption_removes():
    probabilities = np.array([0.95, 0.85, 0.25, 0.15])
    removed = np.array([1, 0, 0, 0], bool)
    assert choose_insertion_threshold(probabilities, removed, np.zeros(4))["threshold"] == 0.85, (
        "one of four, as removed"
    )
    raw = np.array([0.9, 0.9, 0.1, 0.1])
    assert choose_insertion_threshold(probabilities, removed, raw)["threshold"] == 0.9, (
        "half of the real places would be too many"
    )


def test_nothing_is_inserted_where_nothing_is_sure():
    found = choose_insertion_threshold(np.array([0.9, 0.8, 0.2]), np.array([0, 0, 1], bool), np.zeros(3))
    assert found == {"threshold": NO_INSERTION, "prior": pytest.approx(1 / 3), "recall": 0.0, "rate": 0.0}


def test_the_threshold_is_the_models():
    model = build_preset("laclrec", n_items=30, width=8)
    model.evidence.threshold.assign(2.0)
    histories = [np.random.default_rng(user).integers(1, 31, 8).astype(np.int32) for user in range(80)]
    found = calibrate_insertions(model, histories)
    assert float(model.augmenter.insertion_threshold) == pytest.approx(found["threshold"])
    assert calibrate_insertions(model, histories) == found
    rate = np.mean(model.edit(np.stack(histories)).operations.numpy() == INSERT)
    assert rate <= found["rate"] + 1e-6 and found["rate"] <= found["prior"]
    set_insertions(model, {"threshold": NO_INSERTION})
    assert not (model.edit(np.stack(histories)).operations.numpy() == INSERT).any()
