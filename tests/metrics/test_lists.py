"""Coverage, novelty and diversity by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laclrec_tf.metrics.lists import coverage, intra_list_diversity, novelty, surprise


def test_an_item_covers_once_and_an_empty_place_nothing():
    assert coverage(np.array([[1, 2, 0], [2, 2, 0]]), n_items=8) == 0.25


def test_surprise_halves_with_every_doubling():
    counts = np.array([8, 4, 2, 2, 0])  # shares 1/2, 1/4, 1/8, 1/8; without events as one event, 1/16
    assert surprise(np.array([[1, 2], [4, 5]]), counts).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert novelty(np.array([[1, 2], [4, 0]]), counts) == 2.0


def test_diversity_is_the_mean_over_pairs():
    vectors = np.array([[9.0, 9.0], [1.0, 0.0], [0.0, 5.0], [1.0, 1.0], [-2.0, 0.0]])
    lists = np.array([[1, 2, 3], [1, 4, 0], [3, 3, 3], [1, 0, 0]])
    root = math.sqrt(0.5)
    expected = [((1 - 0) + (1 - root) + (1 - root)) / 3, 2.0, 0.0, math.nan]
    assert intra_list_diversity(lists, vectors) == pytest.approx(expected, nan_ok=True)
