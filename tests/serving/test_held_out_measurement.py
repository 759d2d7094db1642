"""A version measured on held-out items, by hand from what it recommends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.release.blessing import HeldOutItems, k_of, measure_version


@pytest.fixture(scope="module")
def first_three(exported, vocabulary) -> list[str]:
    """Return what the version recommends first for a history of the first item."""
    model = LoadedModel(exported)
    history = np.array([[vocabulary.items[0].encode()]], object)
    items = model.run("retrieve", {"history": history, "k": np.array([3], np.int32)})["item_ids"][0]
    model.close()
    return [item.decode() for item in items]


def test_the_places_of_the_targets_count(exported, vocabulary, first_three):
    first, second, third = first_three
    start = vocabulary.items[0]
    # First place, third place, unknown to the version, and in the history: ranks 0, 2, none, none.
    asked = HeldOutItems("here", [[start]] * 4, [first, third, "nowhere", start])
    assert measure_version(exported, asked, 3) == pytest.approx(
        {"recall@3": 2 / 4, "mrr@3": (1 + 1 / 3) / 4, "ndcg@3": (1 + 1 / math.log2(4)) / 4}
    )
    beyond = HeldOutItems("here", [[start]], [second])
    assert measure_version(exported, beyond, 1) == {"recall@1": 0.0, "mrr@1": 0.0, "ndcg@1": 0.0}


@pytest.mark.parametrize("metric", ["ndcg", "ndcg@0", "loss@10", "recall@10 ", "recall@12345", ""])
def test_a_metric_that_k_items_cannot_tell_is_refused(metric):
    with pytest.raises(InputError, match="must be recall@k, mrr@k or ndcg@k"):
        k_of(metric)


def test_a_version_without_the_signature_is_named(counting_version):
    with pytest.raises(InputError, match="does not recommend: The model has no signature 'retrieve'"):
        measure_version(counting_version, HeldOutItems("here", [["a"]], ["b"]), 3)
