"""What to watch while training, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laclrec_tf.layers.sequence_augmenter import Edits, Repair
from laclrec_tf.models.training_statistics import (
    REPAIR_STATISTICS,
    VIEW_STATISTICS,
    repair_statistics,
    view_statistics,
)
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP


def averages(*batches: dict) -> dict[str, float]:
    """Average over batches: `sum(values * weights) / sum(weights)`, weights of 1 where there are none."""
    totals = {name: np.zeros(2) for name in batches[0]}
    for batch in batches:
        for name, (values, weights) in batch.items():
            values = np.array(values, np.float64)
            weights = np.ones_like(values) if weights is None else np.array(weights, np.float64)
            assert weights.shape == values.shape
            totals[name] += (values * weights).sum(), weights.sum()
    return {name: float(weighted / weight) for name, (weighted, weight) in totals.items()}


def f32(rows) -> np.ndarray:
    return np.array(rows, np.float32)


# ---- views -----------------------------------------------------------------------------------------------

HISTORY = np.array([[5, 6, 7], [8, 9, 0]], np.int32)
EDITS = Edits(
    operations=np.array([[KEEP, DELETE, KEEP], [INSERT, KEEP, KEEP]], np.int32),
    probabilities=None,
    insertions=None,
    edited=np.array([[5, 7, 0, 0, 0], [1, 2, 8, 9, 0]], np.int32),
)
RAW, LEARNED, RANDOM = f32([[1, 0], [0, 1]]), f32([[2, 0], [0, -1]]), f32([[1, 5], [3, 2]])


def test_view_statistics_worked_by_hand():
    result = averages(view_statistics(RAW, LEARNED, RANDOM, HISTORY, EDITS))
    assert set(result) == set(VIEW_STATISTICS)
    assert result["similarity_raw_learned"] == pytest.approx((2 - 1) / 2)
    assert result["similarity_raw_random"] == pytest.approx((1 + 2) / 2)
    assert result["triplet_accuracy"] == 0.5  # 2 > 1, but -1 < 2
    # Squared distances of unit vectors are 2 - 2 cos; the cosines are 1 / sqrt 26 and -2 / sqrt 13.
    assert result["alignment"] == pytest.approx(2 - 1 / math.sqrt(26) + 2 / math.sqrt(13), abs=1e-5)
    # The two raw vectors are at squared distance 2: log exp(-2 * 2).
    assert result["uniformity"] == pytest.approx(-4.0, abs=1e-5)
    # Five items, the padding does not count.
    assert (result["keep_rate"], result["delete_rate"], result["insert_rate"]) == pytest.approx((0.6, 0.2, 0.2))
    assert result["edited_length"] == 3.0


def test_events_that_the_cap_cuts_off_are_counted():
    # Before 5, 6, 7 and 8: runs of two, one and no items; the cap of five keeps 2 6 7 8 9.
    history = np.array([[5, 6, 7, 8, 9], [5, 6, 0, 0, 0], [5, 0, 0, 0, 0]], np.int32)
    operations = np.array([[INSERT, INSERT, KEEP, KEEP, KEEP], [DELETE, INSERT, 0, 0, 0], [DELETE, 0, 0, 0, 0]])
    edited = np.array([[2, 6, 7, 8, 9], [1, 2, 3, 4, 6], [5, 0, 0, 0, 0]], np.int32)
    three = np.ones([3, 2], np.float32)
    result = averages(view_statistics(three, three, three, history, Edits(operations, None, None, edited)))
    assert result["cut_rate"] == pytest.approx(1 / 8)


def test_rates_are_exact_over_batches_of_different_sizes():
    one = Edits(np.array([[DELETE]], np.int32), None, None, np.array([[5, 0]], np.int32))
    small = view_statistics(RAW[:1], LEARNED[:1], RANDOM[:1], np.array([[5]], np.int32), one)
    result = averages(view_statistics(RAW, LEARNED, RANDOM, HISTORY, EDITS), small)
    assert result["delete_rate"] == pytest.approx(2 / 6)
    assert result["keep_rate"] == pytest.approx(3 / 6)
    assert result["edited_length"] == pytest.approx((2 + 4 + 1) / 3)
    assert result["triplet_accuracy"] == pytest.approx(2 / 3)


def test_uniformity_leaves_out_the_pairs_of_a_vector_with_itself():
    # Squared distances 4, 2 and 2 between (1, 0), (-3, 0) and (0, 2), whatever their lengths.
    raw = f32([[1, 0], [-3, 0], [0, 2]])
    edits = Edits(np.zeros([3, 1], np.int32), None, None, np.ones([3, 1], np.int32))
    result = averages(view_statistics(raw, raw, raw, np.ones([3, 1], np.int32), edits))
    assert result["uniformity"] == pytest.approx(math.log((math.exp(-8) + 2 * math.exp(-4)) / 3), abs=1e-4)
    assert result["alignment"] == pytest.approx(0.0, abs=1e-6)


def test_a_batch_of_one_gives_finite_statistics():
    one = Edits(np.array([[KEEP]], np.int32), None, None, np.array([[5]], np.int32))
    result = averages(view_statistics(RAW[:1], LEARNED[:1], RANDOM[:1], np.array([[5]], np.int32), one))
    assert all(math.isfinite(value) for value in result.values())


# ---- repairs ---------------------------------------------------------------------------------------------

# Four items; scored by the vector (1, 0) item 2 is first, by (0, 1) EOS, 5. PAD and MASK would win both.
TABLE = f32([[9, 9], [1, 0], [3, 0], [0, 1], [0, 2], [0, 3], [9, 9]])
CORRUPTED = np.array([[3, 4, 1], [2, 1, 0]], np.int32)
LABELS = np.array([[DELETE, DELETE, KEEP], [INSERT, KEEP, KEEP]], np.int32)
DECIDED = np.array([[DELETE, INSERT, DELETE], [INSERT, DELETE, DELETE]], np.int32)
STATES, TARGETS = f32([[1, 0], [0, 1], [0, 1], [1, 0]]), np.array([2, 3, 5, 1], np.int32)
REPAIR = Repair(np.eye(3, dtype=np.float32)[DECIDED], STATES, TARGETS, f32([1, 1, 1, 1]), np.zeros([4, 2], np.int32))


def test_repair_statistics_worked_by_hand():
    result = averages(repair_statistics(REPAIR, TABLE, CORRUPTED, LABELS))
    assert set(result) == set(REPAIR_STATISTICS)
    assert result["operation_accuracy"] == pytest.approx(2 / 5)  # the first of each history
    assert result["deletion_precision"] == pytest.approx(1 / 3)  # one of three, padding aside
    assert result["deletion_recall"] == pytest.approx(1 / 2)
    assert result["insertion_accuracy"] == pytest.approx(2 / 4)  # 2 and EOS


def test_a_row_without_weight_is_no_insertion_target():
    weighed = REPAIR._replace(run_weights=f32([1, 0, 0, 1]))
    assert averages(repair_statistics(weighed, TABLE, CORRUPTED, LABELS))["insertion_accuracy"] == pytest.approx(1 / 2)


def test_what_is_there_already_is_no_answer():
    # By (1, 0) item 1 follows 2, by (0, 1) item 4 follows EOS and item 3 follows both: with 2 there the last target is
    # found, with 4 there the second still is not, and EOS is first all the same.
    present = REPAIR._replace(run_present=np.array([[0, 0], [4, 0], [4, 0], [0, 2]], np.int32))
    assert averages(repair_statistics(present, TABLE, CORRUPTED, LABELS))["insertion_accuracy"] == pytest.approx(3 / 4)


def test_without_a_table_the_insertion_accuracy_is_left_out():
    assert "insertion_accuracy" not in repair_statistics(REPAIR, None, CORRUPTED, LABELS)


def test_precision_and_recall_are_exact_over_batches():
    # The second batch deletes nothing and should delete nothing: it weighs nothing in either.
    kept = np.full([1, 2], KEEP, np.int32)
    calm = Repair(np.eye(3, dtype=np.float32)[kept], STATES[:0], TARGETS[:0], f32([]), np.zeros([0, 2], np.int32))
    result = averages(
        repair_statistics(REPAIR, TABLE, CORRUPTED, LABELS),
        repair_statistics(calm, TABLE, np.array([[3, 4]], np.int32), kept),
    )
    assert result["deletion_precision"] == pytest.approx(1 / 3)
    assert result["deletion_recall"] == pytest.approx(1 / 2)
    assert result["operation_accuracy"] == pytest.approx(4 / 7)
    assert result["insertion_accuracy"] == pytest.approx(2 / 4)


def test_only_so_many_insertion_targets_are_scored():
    result = averages(repair_statistics(REPAIR, TABLE, CORRUPTED, LABELS, max_targets=3))
    assert result["insertion_accuracy"] == pytest.approx(2 / 3)
