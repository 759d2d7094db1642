"""Recommendations in batches: the answers of the signature, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import recommend_in_batches

HISTORIES = [["007", "a b", "x,y"], ["-1"], ["nowhere", "a b"], [], ["item-9", "item-10", "007", "None"]]


@pytest.fixture(scope="module")
def version(exported):
    """Return the exported model as the server loads it."""
    loaded = LoadedModel(exported)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_each_history_gets_what_it_gets_alone(version, batch_size):
    seen = []
    for rows, answers in recommend_in_batches(version, HISTORIES, k=3, batch_size=batch_size):
        assert len(rows) <= batch_size
        for row, items, scores, unknown in zip(
            rows, answers["item_ids"], answers["scores"], answers["unknown"], strict=True
        ):
            history = np.array([[item.encode() for item in HISTORIES[row]]], object).reshape(1, -1)
            alone = version.run("retrieve", {"history": history, "k": np.array([3], np.int32)})
            assert items.tolist() == alone["item_ids"][0].tolist()
            np.testing.assert_allclose(scores, alone["scores"][0], rtol=1e-5)
            assert unknown == HISTORIES[row].count("nowhere")
            seen.append(row)
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_the_history_may_come_back(version, vocabulary):
    everything = list(vocabulary.items)
    ((_, without),) = recommend_in_batches(version, [everything[:2]], k=len(everything))
    ((_, kept),) = recommend_in_batches(version, [everything[:2]], k=len(everything), exclude_history=False)
    assert {item.decode() for item in without["item_ids"][0] if item} == set(everything[2:])
    assert {item.decode() for item in kept["item_ids"][0]} == set(everything)


def test_no_history_no_batch(version):
    assert list(recommend_in_batches(version, [])) == []
