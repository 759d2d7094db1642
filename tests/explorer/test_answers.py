"""What the explorer requests, and how it matches the answers with the history, with answers written by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import polars as pl
import pytest

from laclrec_tf.explorer import answers
from laclrec_tf.explorer.answers import CleanedItem, ExplorerAnswers, ItemSearch, PickedItem
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.client.client import AsyncRetrievalClient
from laclrec_tf.serving.version.metadata import ServedItems

ITEMS = ["mug-1", "tent-10", "tent-1", "zelt.7", "7"]
TITLES = {"tent-1": "Red tent", "zelt.7": "ROTES Zelt für 2", "mug-1": "Mug with a tent on it", "gone": "Red tent"}
VOCABULARY = ItemVocabulary(["tent", "mug", "peg", "rope", "lamp", "stove"])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", ITEMS),
        ("tent-1", ["tent-1", "tent-10"]),  # the item with this id first, then ids that begin with it
        ("tent", ["tent-10", "tent-1", "mug-1"]),
        (" TENT   red", ["tent-1"]),
        ("FÜR", ["zelt.7"]),
        (".", ["zelt.7"]),  # no pattern
        ("7", ["7", "zelt.7"]),
        ("boots", []),
    ],
)
def test_find(words, found):
    assert ItemSearch(ITEMS, TITLES).find(words) == found


def test_limit():
    assert ItemSearch(ITEMS).find("", limit=2) == ["mug-1", "tent-10"]
    assert ItemSearch(ITEMS).find("red") == []


def by_the_definition(text: str, items: list[str], titles: dict[str, str], limit: int) -> list[str]:
    """What `find` says it returns, item by item."""
    text = " ".join(text.lower().split())

    def rank(item: str) -> tuple[bool, bool]:
        names = (item.lower(), titles.get(item, "").lower())
        return names[0] != text, not any(name.startswith(text) for name in names)

    holding = [
        item
        for item in items
        if all(word in item.lower() or word in titles.get(item, "").lower() for word in text.split())
    ]
    return sorted(holding, key=rank)[:limit]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_a_catalogue_in_blocks_is_searched_as_a_whole(monkeypatch, block):
    monkeypatch.setattr(answers, "BLOCK", block)
    draw = random.Random(5)
    items = list(dict.fromkeys("".join(draw.choices("abAB1", k=draw.randint(1, 4))) for _ in range(90)))
    titles = {item: " ".join(draw.choices(["ab", "Ba", "1b a", "Ünd"], k=2)) for item in items[::2]}
    search = ItemSearch(items, titles)
    texts = ["", "a", "A B", "ab", "ba 1", "ünd", "ab ünd", "1b a", "aab", "x", *items[:20]]
    for text in texts:
        for limit in (1, 3, 200):
            assert search.find(text, limit) == by_the_definition(text, items, titles, limit), (text, limit)


@pytest.mark.parametrize(("text", "blocks"), [("red", 0), ("tent", 3), ("tent red", 3), ("boots", 10)])
def test_no_more_blocks_are_searched_than_needed(monkeypatch, text, blocks):
    """There are 100 items "Red tent" in ten blocks of ten, and the search is for the first 30."""
    monkeypatch.setattr(answers, "BLOCK", 10)
    searched, slices = [], pl.DataFrame.iter_slices

    def counted(table, n_rows):
        for rows in slices(table, n_rows):
            yield rows
            searched.append(rows.height)  # a block was searched when the next one is read

    monkeypatch.setattr(pl.DataFrame, "iter_slices", counted)
    items = [str(number) for number in range(100)]
    found = ItemSearch(items, dict.fromkeys(items, "Red tent")).find(text, limit=30)
    assert found == (items[:30] if blocks < 10 else [])
    assert searched == [10] * blocks


def ask(
    target: str,
    request: Callable[[ExplorerAnswers], Awaitable[Any]],
    augmenter: bool = True,
    k: int = 2,
    edits: str = "none",
    exclude_history: bool = True,
) -> Any:
    signatures = frozenset({"retrieve", "augment"} if augmenter else {"retrieve"})

    async def answer() -> Any:
        async with AsyncRetrievalClient(target, "shop") as client:
            items = ServedItems(VOCABULARY, 3, 1, signatures, edits, exclude_history)
            return await request(ExplorerAnswers(client, items, k))

    return asyncio.run(answer())


def ranked(items: list[list[str]], scores: list[list[float]]) -> dict[str, Any]:
    rows = len(items)
    return {
        "item_ids": items,
        "scores": np.array(scores, np.float32),
        "filled": np.full(rows, len(items[0]), np.int32),
        "unknown": np.zeros(rows, np.int32),
    }


def ranked_candidate(score: float, eligible: bool) -> dict[str, Any]:
    return {
        "scores": np.array([[score]], np.float32),
        "eligible": np.array([[eligible]]),
        "unknown": np.array([0], np.int32),
    }


def test_a_history_is_matched_with_what_the_model_read(hand_written):
    """The history has four known items, of which the model reads three, and an unknown one in the middle."""
    hand_written.answers = {
        "augment": {
            "history": [["mug", "rope", "tent"]],
            "operations": [["delete", "keep", "insert"]],
            "probabilities": np.array([[[0.25, 0.75, 0], [1, 0, 0], [0.25, 0.25, 0.5]]], np.float32),
            "inserted": [[["", ""], ["", ""], ["peg", "lamp"]]],
            "edited_history": [["rope", "peg", "lamp", "tent"]],
            "unknown": np.array([1], np.int32),
        },
        "retrieve": ranked([["stove", "lamp"], ["lamp", "peg"]], [[2, 1], [4, 3]]),
    }
    answers = ask(hand_written.target, lambda a: a.of_history(["tent", "mug", "?", "rope", "tent"]))
    assert answers.picked == (
        PickedItem("tent", "too old"),
        PickedItem("mug", "delete", (0.25, 0.75, 0)),
        PickedItem("?", "unknown"),
        PickedItem("rope", "keep", (1, 0, 0)),
        PickedItem("tent", "insert", (0.25, 0.25, 0.5), ("peg", "lamp")),
    )
    assert answers.cleaned == tuple(
        CleanedItem(item, inserted)
        for item, inserted in [("rope", False), ("peg", True), ("lamp", True), ("tent", False)]
    )
    assert answers.recommended.item_ids == ("stove", "lamp")
    assert answers.recommended_cleaned.item_ids == ("lamp", "peg")
    assert not answers.by_popularity
    request = hand_written.inputs[-1]
    assert request["history"][1][1] == [b"rope", b"peg", b"lamp", b"tent", b""]
    assert request["exclude"][1] == [[b"tent", b"mug", b"?", b"rope", b"tent"]]  # without inserted items
    assert request["exclude_history"][1] is False


@pytest.mark.parametrize("history", [[], ["?"]])
def test_without_a_known_item_there_is_nothing_to_clean(hand_written, history):
    hand_written.answers = {"retrieve": ranked([["stove", "lamp"]], [[0.5, 0.25]])}
    answers = ask(hand_written.target, lambda a: a.of_history(history))
    assert answers.by_popularity
    assert answers.cleaned == ()
    assert answers.recommended == answers.recommended_cleaned
    assert [each.mark for each in answers.picked] == ["unknown"] * len(history)


def test_without_an_augmenter(hand_written):
    hand_written.answers = {"retrieve": ranked([["stove", "lamp"]], [[2, 1]])}
    answers = ask(hand_written.target, lambda a: a.of_history(["tent"]), augmenter=False)
    assert answers.picked == (PickedItem("tent", "read"),)
    assert (answers.cleaned, answers.recommended_cleaned) == (None, None)


@pytest.mark.parametrize(
    ("item", "score", "explained"),
    [
        ("?", 0, "Not recommended: unknown. The training data did not contain it."),
        ("mug", -1e30, "Not recommended: retired. The model still reads it in histories but never recommends it."),
        ("tent", 3, "Not recommended: excluded, because it is in the history. Its score is 3."),
        ("lamp", 1.25, "Recommended: place 2 of 2. Its score is 1.25."),
        ("rope", 0.5, "Not recommended: place 3. Its score is 0.5; place 2 has 1.25."),
        ("peg", 0.25, "Not recommended: not found by the index. Its score is 0.25."),
    ],
)
def test_why(hand_written, item, score, explained):
    hand_written.answers = {
        "retrieve": ranked([["stove", "lamp", "rope"]], [[2, 1.25, 0.5]]),
        "rank": ranked_candidate(score, item != "mug"),
    }
    assert ask(hand_written.target, lambda a: a.why(["tent"], item)) == explained


@pytest.mark.parametrize("exclude_history", [True, False])
@pytest.mark.parametrize("edits", ["none", "learned"])
def test_the_server_is_told_about_the_history_whatever_its_default(hand_written, edits, exclude_history):
    hand_written.answers = {
        "retrieve": ranked([["tent", "lamp"]], [[2, 1]]),
        "rank": ranked_candidate(2, True),
        "embed_items": {"item_vectors": np.ones([6, 1], np.float32), "known": [True] * 6},
        "embed_history": {"user_vectors": np.ones([1, 1], np.float32), "unknown": np.array([0], np.int32)},
    }
    settings = {"augmenter": False, "edits": edits, "exclude_history": exclude_history}
    ask(hand_written.target, lambda a: a.of_history(["tent"]), **settings)
    explained = ask(hand_written.target, lambda a: a.why(["tent"], "tent"), **settings)
    said = [inputs["exclude_history"][1] for inputs in hand_written.inputs if "exclude_history" in inputs]
    assert said == [exclude_history, exclude_history]
    assert ("excluded" in explained) == exclude_history


def test_why_requests_no_more_items_than_a_server_returns(hand_written, monkeypatch):
    monkeypatch.setattr("laclrec_tf.explorer.answers.MAX_PLACE", 4)
    hand_written.answers = {
        "retrieve": ranked([["stove", "lamp", "rope", "mug"]], [[2, 1.25, 0.5, 0.4]]),
        "rank": ranked_candidate(0.25, True),
    }
    explained = ask(hand_written.target, lambda answers: answers.why(["tent"], "peg"))
    assert explained == "Not recommended: beyond place 4. Its score is 0.25."


@pytest.mark.parametrize(
    ("held_out", "places"),
    [
        (None, None),
        ("rope", ("place 1", "place 3")),
        ("lamp", ("not recommended", "not recommended")),  # it is retired
        ("tent", ("not recommended", "not recommended")),  # it is in the history
        ("?", ("not recommended", "not recommended")),
    ],
)
def test_over_the_edits_without_an_augmenter(hand_written, held_out, places):
    """The dot products as it is are 4 for the rope, 2 for the stove and 1 for the mug; lamp and peg are retired."""
    hand_written.answers = {
        "retrieve": ranked([["mug", "stove", "rope"]], [[0.5, 0.25, 0.25]]),
        "embed_items": {"item_vectors": np.array([[0], [1], [9], [4], [3], [2]], np.float32), "known": [True] * 6},
        "embed_history": {"user_vectors": np.ones([1, 1], np.float32), "unknown": np.array([0], np.int32)},
    }
    answers = ask(hand_written.target, lambda a: a.of_history(["tent"], held_out), augmenter=False, edits="learned")
    assert answers.picked == (PickedItem("tent", "read"),)
    assert answers.over_edits.item_ids == ("mug", "stove")
    assert answers.recommended.item_ids == ("rope", "stove")
    assert answers.places == places
    assert hand_written.inputs[0]["k"][1] == (2 if held_out is None else 6)


def test_no_more_places_are_looked_up_than_a_server_returns(hand_written, monkeypatch):
    monkeypatch.setattr("laclrec_tf.explorer.answers.MAX_PLACE", 3)
    hand_written.answers = {"retrieve": ranked([["mug", "stove", "rope"]], [[0.5, 0.25, 0.25]])}
    answers = ask(hand_written.target, lambda a: a.of_history([], "lamp"), edits="learned")
    assert answers.places == ("beyond place 3", "beyond place 3")


def exhausted(*requests: bool) -> list[grpc.StatusCode | None]:
    return [grpc.StatusCode.RESOURCE_EXHAUSTED if refused else None for refused in requests]


def test_a_server_that_refuses_the_whole_catalogue_answers_over_the_edits_alone(hand_written):
    hand_written.answers = {"retrieve": ranked([["mug", "stove"]], [[0.5, 0.25]])}
    hand_written.refusals = exhausted(False, True)
    answers = ask(hand_written.target, lambda a: a.of_history(["tent"]), augmenter=False, edits="learned")
    assert answers.over_edits.item_ids == ("mug", "stove")
    assert answers.recommended is None
    assert "not now" in answers.problem and "\n" not in answers.problem
    assert [inputs["k"][1] for inputs in hand_written.inputs] == [2, 6]


def test_a_held_out_item_on_a_server_that_refuses_many_places(hand_written):
    hand_written.answers = {"retrieve": ranked([["mug", "stove"]], [[0.5, 0.25]])}
    hand_written.refusals = exhausted(True, False, True)
    answers = ask(hand_written.target, lambda a: a.of_history(["tent"], "rope"), augmenter=False, edits="learned")
    assert answers.places == ("not recommended", "beyond place 2")
    assert [inputs["k"][1] for inputs in hand_written.inputs] == [6, 2, 6]


def test_most_popular_over_the_edits(hand_written):
    hand_written.answers = {"retrieve": ranked([["stove", "lamp"]], [[0.5, 0.25]])}
    answers = ask(hand_written.target, lambda a: a.of_history(["?"]), edits="learned")
    assert answers.by_popularity
    assert answers.recommended == answers.over_edits
    assert len(hand_written.requests) == 1


def test_why_over_the_edits(hand_written):
    hand_written.answers = {
        "retrieve": ranked([["stove", "lamp", "rope"]], [[2, 1.25, 0.5]]),
        "rank": ranked_candidate(1.25, True),
    }
    explained = ask(hand_written.target, lambda a: a.why(["tent"], "lamp"), edits="learned")
    assert explained == "Recommended over its edits: place 2 of 2. Its score is 1.25."
