"""Recommendations as they would be without the mixture, and drawn noise, against the model itself and by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from laclrec_tf.explorer import as_it_is
from laclrec_tf.explorer.answers import ExplorerAnswers
from laclrec_tf.explorer.as_it_is import AsItIs
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving import ModelServer
from laclrec_tf.serving.client.answers import Recommendation
from laclrec_tf.serving.client.client import AsyncRetrievalClient
from laclrec_tf.serving.version.metadata import ServedItems

pytestmark = pytest.mark.usefixtures("quick_loads")

ITEMS = ["tent", "mug", "peg", "rope", "lamp"]


class Vectors:
    """Answers like a server: "lamp" is retired, and the history's vector is (1, 0)."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def recommend(self, histories, k):
        self.requests.append((histories, k))
        return [Recommendation(("mug", "tent", "rope", "peg"), (0.5, 0.25, 0.25, 0.0))]

    async def embed_items(self, items):
        self.requests.append(items)
        vectors = {"tent": [0.0, 1], "mug": [np.log(3), 0], "peg": [np.log(2), 5], "rope": [0, 2], "lamp": [9, 0]}
        rows = [vectors.get(item, [7.0, 7]) for item in items]  # that of an unknown item has no meaning
        return SimpleNamespace(vectors=np.array(rows, np.float32), known=tuple(item in vectors for item in items))

    async def embed_history(self, histories):
        return SimpleNamespace(vectors=np.array([[1, 0]], np.float32))


def test_shares_by_hand(monkeypatch):
    """The exponentials of the scores are 1, 3, 2, 1 and exp(9)."""
    monkeypatch.setattr(as_it_is, "BLOCK", 2)
    client = Vectors()

    async def visit() -> list[Recommendation]:
        made = AsItIs(client, ItemVocabulary(ITEMS))
        return [await made.recommend(history, 2) for history in (["tent"], ["?", "mug"])]

    first, second = asyncio.run(visit())
    assert first.item_ids == ("mug", "peg")
    total = 1 + 3 + 2 + 1 + np.exp(9)
    assert first.scores == pytest.approx([3 / total, 2 / total])
    assert second.item_ids == ("peg", "tent")  # of equal scores the first item of the catalogue
    assert client.requests == [([[]], 5), ("tent", "mug"), ("peg", "rope"), ("lamp",)]  # once


def test_a_server_with_other_items():
    """The folder has two of the server's items, "mug" and "peg", and one that the server does not know."""

    async def visit() -> tuple[Recommendation, set[str | None]]:
        made = AsItIs(Vectors(), ItemVocabulary(["map", "peg", "mug"]))
        return await made.recommend(["tent"], 3), {await made.draw_noise([], seed) for seed in range(9)}

    found, drawn = asyncio.run(visit())
    assert found.item_ids == ("mug", "peg")
    assert found.scores == pytest.approx([3 / 5, 2 / 5])
    assert drawn == {"mug"}  # nobody bought a peg


def test_noise_is_drawn_by_popularity():
    async def draw(never: list[str], n: int = 400) -> Counter[str | None]:
        made = AsItIs(Vectors(), ItemVocabulary(ITEMS))
        assert [await made.draw_noise(never, 7) for _ in range(3)] == [await made.draw_noise(never, 7)] * 3
        return Counter([await made.draw_noise(never, seed) for seed in range(n)])

    drawn = asyncio.run(draw(["tent", "?"]))
    assert set(drawn) == {"mug", "rope"}  # nobody bought a peg, and the lamp is retired
    assert 230 < drawn["mug"] < 300  # expected: 2 of 3
    assert set(asyncio.run(draw(["tent", "mug", "rope"], 3))) == {"peg"}
    assert set(asyncio.run(draw(["tent", "mug", "rope", "peg"], 3))) == {None}


def test_both_lists_are_those_of_the_model(mixing_run, mixing_export):
    """Noise as the newest event changes both lists, and they differ."""
    model, items = mixing_run.model, ServedItems.read(mixing_export)
    assert items.edits == "uniform"
    start, target = list(items.vocabulary.items[20:25]), items.vocabulary.items[3]

    async def visit(port: int) -> list[Any]:
        async with AsyncRetrievalClient(f"127.0.0.1:{port}", "shop", timeout=60) as client:
            answers = ExplorerAnswers(client, items)
            noise = await answers.as_it_is.draw_noise([*start, target], 0)
            return [(noise, await answers.of_history(each, target)) for each in (start, [*start, noise])]

    with ModelServer("shop", mixing_export, port=0) as server:
        (noise, before), (_, after) = asyncio.run(visit(server.port))
    assert noise not in (*start, target)
    for history, found in ((start, before), ([*start, noise], after)):
        item_ids = np.array([items.vocabulary.to_ids(history)])
        lists = [model.recommend(item_ids, k=150, edits=edits) for edits in ("none", "uniform")]
        ranked = [items.vocabulary.to_items(list(map(int, best[0]))) for best, _ in lists]
        assert found.recommended.item_ids == tuple(ranked[0][:10])
        assert found.over_edits.item_ids == tuple(ranked[1][:10]) != found.recommended.item_ids
        scores = np.asarray(model.scores_of(item_ids, edits="none"), np.float64)[0, 1:-2]
        shares = np.sort(np.exp(scores[np.asarray(lists[0][0])[0, :10] - 1]) / np.exp(scores).sum())[::-1]
        assert found.recommended.scores == pytest.approx(shares.tolist(), rel=1e-4)
        assert found.over_edits.scores == pytest.approx(np.asarray(lists[1][1])[0, :10].tolist(), rel=1e-4)
        assert found.places == tuple(f"place {best.index(target) + 1}" for best in ranked)
        edits = model.edit(item_ids, decision="argmax")
        assert [each.probabilities for each in found.picked] == [
            pytest.approx(shares.tolist(), abs=1e-5) for shares in np.asarray(edits.probabilities)[0]
        ]
    assert after.recommended.item_ids != before.recommended.item_ids
    assert after.over_edits.item_ids != before.over_edits.item_ids
    assert (before.cleaned, before.recommended_cleaned, before.by_popularity) == (None, None, False)
