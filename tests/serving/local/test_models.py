"""A retriever in memory answers what a server of its export answers."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import build_preset
from laclrec_tf.serving import RetrievalClient, Retriever
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import LiveModel, recommend_in_batches

pytestmark = pytest.mark.usefixtures("quick_loads")

BATCH_HISTORIES = [["007", "a b", "x,y"], ["-1"], ["nowhere", "a b"], [], ["item-9", "item-10", "007", "None"]]
HISTORIES = [["007", "テント", "item-9"], ["item-11", "nobody-knows"], []]


@pytest.fixture(scope="module")
def version(exported):
    """Return the exported model as the server loads it."""
    loaded = LoadedModel(exported)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 99])
def test_each_history_gets_what_it_gets_alone(version, batch_size):
    seen = []
    for rows, answers in recommend_in_batches(version, BATCH_HISTORIES, k=3, batch_size=batch_size):
        assert len(rows) <= batch_size
        for row, items, scores, unknown in zip(
            rows, answers["item_ids"], answers["scores"], answers["unknown"], strict=True
        ):
            history = np.array([[item.encode() for item in BATCH_HISTORIES[row]]], object).reshape(1, -1)
            alone = version.run("retrieve", {"history": history, "k": np.array([3], np.int32)})
            assert items.tolist() == alone["item_ids"][0].tolist()
            np.testing.assert_allclose(scores, alone["scores"][0], rtol=1e-5)
            assert unknown == BATCH_HISTORIES[row].count("nowhere")
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


@pytest.fixture(scope="module")
def live(retriever: Retriever) -> LiveModel:
    return LiveModel(retriever)


def test_recommendations_are_the_served_ones(live: LiveModel, client: RetrievalClient):
    arguments = {"k": 4, "exclude": ["item-12"], "allow": [], "exclude_history": False}
    for mine, served in zip(
        live.recommend(HISTORIES, **arguments), client.recommend(HISTORIES, **arguments), strict=True
    ):
        assert (mine.item_ids, mine.unknown) == (served.item_ids, served.unknown)
        np.testing.assert_allclose(mine.scores, served.scores, rtol=1e-5, atol=1e-5)
    assert [answer.unknown for answer in live.recommend(HISTORIES)] == [0, 1, 0]


def test_edits_neighbours_and_ranks_are_the_served_ones(live: LiveModel, client: RetrievalClient):
    for mine, served in zip(live.augment(HISTORIES), client.augment(HISTORIES), strict=True):
        assert (mine.operations, mine.inserted, mine.edited_history) == (
            served.operations,
            served.inserted,
            served.edited_history,
        )
    (mine,), (served,) = live.similar_items(["007"], k=3), client.similar_items(["007"], k=3)
    assert (mine.item_ids, mine.known) == (served.item_ids, served.known)
    (mine_ranked,), (served_ranked,) = (each.rank(["007"], ["a b", "-1", "x"]) for each in (live, client))
    assert mine_ranked.item_ids == served_ranked.item_ids
    np.testing.assert_allclose(live.embed_items(["007"]).vectors, client.embed_items(["007"]).vectors, rtol=1e-6)


def test_a_model_without_an_augmenter_says_what_it_has():
    model = build_preset("sasrec", n_items=2, width=8)
    live = LiveModel(Retriever(model, ItemVocabulary(["tent", "stove"]), np.array([3, 1])))
    assert "augment" not in live.signature_names
    with pytest.raises(InputError, match="no signature 'augment'. It has: embed_history, embed_items"):
        live.augment(["tent"])


def test_what_an_operation_refuses_is_one_line(live: LiveModel):
    history = {"history": np.array([[b"007"]], object), "k": np.array(0, np.int32)}
    with pytest.raises(InputError, match="^Input k must be at least 1. Received: k = 0.$"):
        live._predict("retrieve", history)
