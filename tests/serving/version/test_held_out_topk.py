"""Held-out histories with the live model's answers, and when two answers agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.held_out_topk import (
    HELD_OUT_FILE,
    HeldOutHistories,
    RankedItems,
    ranked_items,
    read_held_out_topk,
    same_ranking,
    write_held_out_topk,
)

LIVE = RankedItems(("a", "b", "c"), (3.0, 2.0, 1.0))


@pytest.mark.parametrize(
    ("expected", "received", "agree"),
    [
        (LIVE, LIVE, True),
        (LIVE, RankedItems(("a", "b", "c"), (3.00001, 2.0, 0.99999)), True),
        (LIVE, RankedItems(("a", "b", "c"), (3.001, 2.0, 1.0)), False),
        (LIVE, RankedItems(("b", "a", "c"), (3.0, 2.0, 1.0)), False),
        (LIVE, RankedItems(("a", "b", "d"), (3.0, 2.0, 1.0)), True),  # d may have tied with c below the last place
        (LIVE, RankedItems(("a", "d", "c"), (3.0, 2.0, 1.0)), False),
        (LIVE, RankedItems(("a", "a", "c"), (3.0, 2.0, 1.0)), False),
        (LIVE, RankedItems(("a", "b"), (3.0, 2.0)), False),
        (RankedItems((), ()), RankedItems((), ()), True),
        (RankedItems(("a", "b"), (1.0, 1.0)), RankedItems(("b", "a"), (1.0, 1.0)), True),
        (LIVE, RankedItems(("a", "b", "c"), (float("nan"), 2.0, 1.0)), False),
        (RankedItems(("a", "b"), (3e-5, 2e-5)), RankedItems(("c", "d"), (3e-5, 1e-5)), False),  # small probabilities
    ],
)
def test_when_answers_agree(expected, received, agree):
    assert same_ranking(expected, received) is agree


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_any_order_of_ties_agrees_and_no_other_does(scores, random):
    scores = sorted(scores, reverse=True)
    items = [str(number) for number in range(len(scores))]
    shuffled = list(range(len(scores)))
    random.shuffle(shuffled)
    received = RankedItems(tuple(items[n] for n in shuffled), tuple(scores))
    within_ties = all(scores[n] == scores[place] for place, n in enumerate(shuffled))
    assert same_ranking(RankedItems(tuple(items), tuple(scores)), received) is within_ties


def test_empty_slots_are_left_out():
    outputs = {
        "item_ids": np.array([["テント".encode(), b""], [b"", b""]], object),
        "scores": np.array([[0.1, -1e30], [-1e30, -1e30]], np.float32),
    }
    assert ranked_items(outputs) == [RankedItems(("テント",), (float(np.float32(0.1)),)), RankedItems((), ())]


def test_what_is_written_is_the_live_models_answer(retriever, tmp_path):
    histories = [["007", "テント"], [], ["item-9"], ["unknown"]]
    write_held_out_topk(tmp_path, HeldOutHistories("here", histories), retriever.serving_default)
    held_out, answers = read_held_out_topk(tmp_path)
    assert held_out == HeldOutHistories("here", histories)
    live = retriever.serving_default(tf.constant([["007", "テント"], ["", ""], ["item-9", ""], ["unknown", ""]]))
    assert answers == ranked_items({name: live[name].numpy() for name in ("item_ids", "scores")})
    assert len(answers[0].item_ids) == 10


def test_an_export_without_histories_takes_those_of_the_warmup(exported):
    held_out, answers = read_held_out_topk(exported)
    assert held_out.source == "the example histories of the warm-up requests"
    assert len(held_out.histories) == len(answers) == 8


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"source": "s", "rows": []}',
        '{"rows": [{"history": [], "item_ids": [], "scores": []}]}',
        '{"source": "s", "rows": [{"history": ["a"], "item_ids": ["b"], "scores": []}]}',
        '{"source": "s", "rows": [{"history": ["a"], "item_ids": ["b"], "scores": ["best"]}]}',
        '{"source": "s", "rows": [3]}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / HELD_OUT_FILE).parent.mkdir()
    (tmp_path / HELD_OUT_FILE).write_text(content)
    with pytest.raises(InputError, match="held_out_topk.json is damaged"):
        read_held_out_topk(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="has no assets.extra/held_out_topk.json"):
        read_held_out_topk(tmp_path)


def test_scores_come_back_exactly(exported):
    content = json.loads((exported / HELD_OUT_FILE).read_text())
    scores = [score for row in content["rows"] for score in row["scores"]]
    assert scores == [float(np.float32(score)) for score in scores]
