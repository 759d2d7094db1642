"""Ranks and ranking metrics: hand-worked values, and those of the authors' own code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.metrics.ranking import MISSED, mrr_at_k, ndcg_at_k, ranking_metrics, recall_at_k, target_ranks

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["metrics"]
NAN = float("nan")


def rank(scores: list[float], target: int, exclude=None) -> int:
    exclude = None if exclude is None else tf.constant([exclude])
    return int(target_ranks(tf.constant([scores]), tf.constant([target]), exclude)[0])


def test_metrics_agree_with_the_authors_code():
    scores = np.array(GOLDEN["scores"], np.float32)
    left_out = np.ones(scores.shape, bool)
    for row, negatives in enumerate(GOLDEN["negatives"]):
        left_out[row, [*negatives, GOLDEN["target"][row]]] = False
    ranks = target_ranks(scores, GOLDEN["target"], exclude=left_out)
    metrics = ranking_metrics(ranks.numpy())
    assert len(metrics) == 9
    for name, value in metrics.items():
        assert value == pytest.approx(GOLDEN[name], abs=1e-5), name


def test_the_rank_is_the_number_of_better_candidates():
    scores = [0.3, 0.9, 0.1, 0.5]
    assert [rank(scores, target) for target in range(4)] == [2, 0, 3, 1]


def test_ties_count_against_the_target():
    assert rank([0.5, 0.5, 0.5, 0.1], 1) == 2
    assert rank([0.0, 0.0, 0.0, 0.0], 0) == 3


def test_a_nan_counts_against_the_target():
    assert rank([NAN, 0.9, 0.1], 1) == 1  # another candidate's NaN
    assert rank([0.3, NAN, 0.1], 1) == 2  # its own
    assert rank([NAN, NAN, NAN], 2) == 2


def test_a_score_of_minus_infinity_never_stands_before_a_finite_one():
    assert rank([-math.inf, 0.2, -math.inf], 1) == 0


def test_excluded_ids_are_left_out():
    scores = [9.0, 0.9, 0.5, 0.7]
    assert rank(scores, 2) == 3
    assert rank(scores, 2, exclude=[1, 0]) == 1  # padding excludes column 0
    assert rank(scores, 2, exclude=[1, 1, 3, 0]) == 0  # twice the same id is excluded once


def test_an_excluded_mask_leaves_out_the_same_as_ids():
    scores = tf.constant([[9.0, 0.9, 0.5, 0.7], [9.0, 0.9, 0.5, 0.7]])
    targets = tf.constant([2, 3])
    by_ids = target_ranks(scores, targets, exclude=tf.constant([[1, 0], [0, 0]]))
    by_mask = target_ranks(
        scores, targets, exclude=tf.constant([[True, True, False, False], [True, False, False, False]])
    )
    assert by_ids.numpy().tolist() == by_mask.numpy().tolist() == [1, 1]


def test_an_excluded_target_is_missed():
    scores = [0.1, 0.9, 0.5, 0.7]
    assert rank(scores, 2, exclude=[2, 1]) == MISSED
    assert rank(scores, 2, exclude=[False, True, True, False]) == MISSED
    assert ranking_metrics([MISSED, 0], ks=(10,)) == {"recall@10": 0.5, "mrr@10": 0.5, "ndcg@10": 0.5}


def test_metrics_of_hand_worked_ranks():
    # Ranks 0, 1, 4 and 7; at 5: three hits, 1 + 1/2 + 1/5, 1/log2(2) + 1/log2(3) + 1/log2(6).
    metrics = ranking_metrics([0, 1, 4, 7], ks=(1, 5, 10))
    assert metrics == pytest.approx(
        {
            "recall@1": 0.25,
            "mrr@1": 0.25,
            "ndcg@1": 0.25,
            "recall@5": 0.75,
            "mrr@5": 0.425,
            "ndcg@5": (1 + 0.63092975 + 0.38685281) / 4,
            "recall@10": 1.0,
            "mrr@10": 0.45625,
            "ndcg@10": (1 + 0.63092975 + 0.38685281 + 0.31546488) / 4,
        }
    )


def test_metrics_are_plain_floats_at_5_10_and_20():
    metrics = ranking_metrics(np.array([3], np.int32))
    assert list(metrics) == [f"{name}@{k}" for k in (5, 10, 20) for name in ("recall", "mrr", "ndcg")]
    assert all(type(value) is float for value in metrics.values())


def test_metrics_of_each_rank_average_to_ranking_metrics():
    ranks = [0, 1, 4, 5, 19, 20, 7000]
    metrics = ranking_metrics(ranks)
    for k in (5, 10, 20):
        for name, metric in (("recall", recall_at_k), ("mrr", mrr_at_k), ("ndcg", ndcg_at_k)):
            assert float(tf.reduce_mean(metric(tf.constant(ranks), k))) == pytest.approx(metrics[f"{name}@{k}"])


def test_a_rank_of_k_is_a_miss_at_k():
    assert recall_at_k(tf.constant([4, 5]), 5).numpy().tolist() == [1.0, 0.0]
    assert mrr_at_k(tf.constant([4, 5]), 5).numpy() == pytest.approx([0.2, 0.0])
    assert ndcg_at_k(tf.constant([2, 5]), 5).numpy() == pytest.approx([0.5, 0.0])  # 1 / log2(4)


@pytest.mark.parametrize("ranks", [[], [0, -1]])
def test_no_ranks_and_negative_ranks_are_refused(ranks: list[int]):
    with pytest.raises(ValueError, match="Argument `ranks`"):
        ranking_metrics(ranks)


def test_a_cut_off_below_1_is_refused():
    with pytest.raises(ValueError, match=r"`ks` .* Received: ks=\(0, 5\)"):
        ranking_metrics([1], ks=(0, 5))
