"""The baselines of a report: popularity and random lists."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.report.measure import list_findings, popularity_ranks


def test_retired_items_are_ranked_after_every_target():
    histories, target, counts = [np.array([1, 2])], np.array([4]), np.array([9, 8, 7, 5, 5])
    # Items 3 and 5 come before item 4, because 5 is as popular; items of the history are left out.
    assert popularity_ranks(histories, target, counts).tolist() == [2]
    assert popularity_ranks(histories, target, counts, retired=[3]).tolist() == [1]
    assert popularity_ranks(histories, target, counts, retired=[1, 3]).tolist() == [1]
    assert counts.tolist() == [9, 8, 7, 5, 5]


def test_random_lists_contain_no_item_twice():
    n_items = 12
    run = SimpleNamespace(
        model=SimpleNamespace(n_items=n_items, item_vectors=tf.eye(n_items)),
        vocabulary=ItemVocabulary([f"item-{each}" for each in range(n_items)]),
        retired=("item-11",),
        popularity=np.ones(n_items, np.int64),
    )
    users = SimpleNamespace(lists=np.array([[1, 2, 3]], np.int32), targets=np.array([5], np.int32))
    findings = list_findings(run, users, seed=0)
    # The vectors are orthogonal: different items have the cosine 0, and an item with itself 1.
    assert findings["diversity_at_random"] == pytest.approx(1.0)
    assert findings["diversity"] == pytest.approx(1.0)
    assert findings["coverage"] == pytest.approx(3 / 11)
