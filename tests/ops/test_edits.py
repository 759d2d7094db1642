"""Edits: hand-worked rows, and the edits of the authors' own code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits, inserted_items, kept_insertions

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["edits"]
EOS = 99


def edited(item_ids: list[int], operations: list[int], insertions: list[list[int]], max_length: int = 8):
    """Edit one history; without the padding behind it."""
    row = apply_edits(
        tf.constant([item_ids]),
        tf.constant([operations]),
        tf.constant([insertions]),
        eos_id=EOS,
        max_length=max_length,
    )
    assert row.shape == (1, max_length)
    ids = row.numpy()[0].tolist()
    items = [i for i in ids if i]
    assert ids == items + [0] * (max_length - len(items)), "padding stands behind the items"
    return items


NOTHING = [0, 0, 0]


def test_operations_have_the_numbers_of_the_golden_values():
    assert (KEEP, DELETE, INSERT) == (0, 1, 2)


@pytest.mark.parametrize("case", range(len(GOLDEN["cases"])))
@pytest.mark.parametrize("max_length", [14, 60])
def test_edits_agree_with_the_authors_code(case: int, max_length: int):
    golden = GOLDEN["cases"][case]
    result = apply_edits(
        tf.constant([golden["input"]]),
        tf.constant([golden["operations"]]),
        tf.constant([golden["insertions"]]),
        eos_id=GOLDEN["eos"],
        max_length=max_length,
    )
    expected = golden["edited"] + [0] * (max_length - len(golden["edited"]))
    assert result.numpy().tolist() == [expected]


def test_the_golden_cases_undo_the_authors_corruptions():
    undone = [case for case in GOLDEN["cases"] if "raw" in case]
    assert len(undone) == 3
    assert all(case["edited"] == case["raw"] for case in undone)


def test_kept_items_stay_deleted_items_go_and_order_is_kept():
    assert edited([5, 6, 7, 8, 0], [KEEP, DELETE, KEEP, KEEP, KEEP], [NOTHING] * 5) == [5, 7, 8]


def test_a_run_stands_before_its_item_the_nearest_next_to_it():
    # Nearest first: 3 stood right before 7, then 2, then 1.
    assert edited([6, 7], [KEEP, INSERT], [NOTHING, [3, 2, 1]]) == [6, 1, 2, 3, 7]


def test_a_run_ends_at_its_first_eos():
    assert edited([6, 7], [INSERT, INSERT], [[3, EOS, 1], [4, EOS, EOS]]) == [3, 6, 4, 7]


def test_insert_with_eos_first_inserts_nothing():
    assert edited([6, 7], [INSERT, KEEP], [[EOS, 3, 2], NOTHING]) == [6, 7]


def test_runs_are_read_at_insert_positions_only():
    assert edited([6, 7, 0], [KEEP, DELETE, INSERT], [[1, 2, 3], [4, 5, EOS], [8, EOS, 0]]) == [6]


def test_when_every_item_would_go_the_last_one_stays():
    assert edited([5, 6, 7, 0], [DELETE, DELETE, DELETE, KEEP], [NOTHING] * 4) == [7]


def test_all_deleted_is_decided_for_each_history_alone():
    ids = tf.constant([[5, 6, 0], [7, 8, 9]])
    operations = tf.constant([[DELETE, DELETE, INSERT], [DELETE, KEEP, DELETE]])
    insertions = tf.fill([2, 3, 2], 3)
    result = apply_edits(ids, operations, insertions, eos_id=EOS, max_length=3)
    assert result.numpy().tolist() == [[6, 0, 0], [8, 0, 0]]


def test_the_most_recent_items_stay_when_the_edited_history_is_too_long():
    # Whole: 1 2 3 5 6 4 7; the last four are 5 6 4 7.
    whole = [[3, 2, 1], NOTHING, [4, EOS, 0]]
    assert edited([5, 6, 7], [INSERT, KEEP, INSERT], whole, max_length=7) == [1, 2, 3, 5, 6, 4, 7]
    assert edited([5, 6, 7], [INSERT, KEEP, INSERT], whole, max_length=4) == [5, 6, 4, 7]
    assert edited([5, 6, 7], [INSERT, KEEP, INSERT], whole, max_length=1) == [7]


def test_an_empty_history_stays_empty():
    assert edited([0, 0], [INSERT, DELETE], [[3, 2, 1], NOTHING]) == []


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_result_has_the_dtype_of_the_ids(dtype: type):
    result = apply_edits(
        np.array([[5, 6]], dtype), np.array([[0, 1]]), np.zeros([1, 2, 2], np.int32), eos_id=EOS, max_length=3
    )
    assert result.dtype == dtype
    assert result.numpy().tolist() == [[5, 0, 0]]


def test_an_edited_width_below_1_is_refused():
    with pytest.raises(ValueError, match="`max_length` must be at least 1. Received: max_length=0"):
        edited([5], [KEEP], [NOTHING], max_length=0)


def test_inserted_items_blanks_a_run_from_its_first_eos_on():
    runs = tf.constant([[4, EOS, 5], [EOS, 4, 5], [4, 5, 6]])
    assert inserted_items(runs, EOS).numpy().tolist() == [[4, 0, 0], [0, 0, 0], [4, 5, 6]]


# ---- insertions that are kept ----------------------------------------------------------------------------
def kept(operations: list[int], insertions: list[list[int]], max_length: int = 20) -> list[list[int]]:
    item_ids = tf.range(1, len(operations) + 1)[tf.newaxis]
    found = kept_insertions(
        item_ids, tf.constant([operations]), tf.constant([insertions]), eos_id=EOS, max_length=max_length
    )
    return found[0].numpy().tolist()


def test_the_newest_of_equal_insertions_is_kept():
    runs = [[7, 8, EOS], [8, 9, 7], [9, EOS, 5]]
    assert kept([INSERT] * 3, runs) == [[0, 0, EOS], [8, 0, 7], [9, EOS, 0]]
    assert kept([INSERT, KEEP, INSERT], runs) == [[7, 8, EOS], [0, 0, 0], [9, EOS, 0]]


@pytest.mark.parametrize("n_insertions", [1, 3])
def test_kept_insertions_have_a_static_shape_in_a_graph(n_insertions):
    specs = [tf.TensorSpec([None, None], tf.int32)] * 2 + [tf.TensorSpec([None, None, n_insertions], tf.int32)]
    traced = tf.function(lambda *inputs: kept_insertions(*inputs, eos_id=EOS, max_length=9), input_signature=specs)
    assert traced.get_concrete_function().output_shapes.as_list() == [None, None, n_insertions]


def test_the_oldest_insertions_give_way():
    runs = [[7, 8, 9], [0, 0, 0], [10, 11, EOS]]
    operations = [INSERT, KEEP, INSERT]
    # In reading order: 9 8 7 1 2 11 10 3.
    assert kept(operations, runs, max_length=8) == [[7, 8, 9], [0, 0, 0], [10, 11, EOS]]
    assert kept(operations, runs, max_length=6) == [[7, 0, 0], [0, 0, 0], [10, 11, EOS]]
    assert kept(operations, runs, max_length=4) == [[0, 0, 0], [0, 0, 0], [10, 0, EOS]]
    assert (
        kept(operations, runs, max_length=3) == kept(operations, runs, max_length=2) == [[0] * 3, [0] * 3, [0, 0, EOS]]
    )
    # A deleted event makes room.
    assert kept([INSERT, DELETE, INSERT], runs, max_length=4) == [[0, 0, 0], [0, 0, 0], [10, 11, EOS]]


@given(st.data())
def test_kept_insertions_repeat_nothing_and_lose_no_event(data):
    length = data.draw(st.integers(1, 5))
    n_events = data.draw(st.integers(0, length))
    history = data.draw(st.permutations(range(1, 13)))[:n_events]
    operations = data.draw(st.lists(st.sampled_from([KEEP, DELETE, INSERT]), min_size=length, max_size=length))
    others = st.sampled_from([*set(range(1, 13)) - set(history), EOS])
    runs = [data.draw(st.lists(others, min_size=3, max_size=3)) for _ in range(length)]
    max_length = data.draw(st.integers(5, 9))
    inputs = tf.constant([history + [0] * (length - n_events)]), tf.constant([operations])
    limits = {"eos_id": EOS, "max_length": max_length}
    insertions = kept_insertions(*inputs, tf.constant([runs]), **limits)
    edited = [item for item in apply_edits(*inputs, insertions, **limits).numpy()[0].tolist() if item]
    assert len(edited) == len(set(edited))
    remaining = [item for item, operation in zip(history, operations, strict=False) if operation != DELETE]
    assert [item for item in edited if item in history] == (remaining or history[-1:])
    unlimited = kept_insertions(*inputs, tf.constant([runs]), eos_id=EOS, max_length=99)
    n_wanted = int(tf.reduce_sum(tf.cast(inserted_items(unlimited, EOS) > 0, tf.int32)))
    assert len(edited) == min(max_length, n_wanted + len(remaining or history[-1:]))
