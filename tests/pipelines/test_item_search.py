"""Finding items by parts of ids and titles."""

from __future__ import annotations

import random

import polars as pl
import pytest

from laclrec_tf.explorer import answers
from laclrec_tf.explorer.answers import ItemSearch

ITEMS = ["mug-1", "tent-10", "tent-1", "zelt.7", "7"]
TITLES = {"tent-1": "Red tent", "zelt.7": "ROTES Zelt für 2", "mug-1": "Mug with a tent on it", "gone": "Red tent"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", ITEMS),
        ("tent-1", ["tent-1", "tent-10"]),  # the one that is named first, then what begins like it
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
    """Of 100 items "Red tent" in ten blocks the first 30 are wanted, of each block ten."""
    monkeypatch.setattr(answers, "BLOCK", 10)
    searched, slices = [], pl.DataFrame.iter_slices

    def counted(table, n_rows):
        for rows in slices(table, n_rows):
            yield rows
            searched.append(rows.height)  # one is searched when the next is asked for

    monkeypatch.setattr(pl.DataFrame, "iter_slices", counted)
    items = [str(number) for number in range(100)]
    found = ItemSearch(items, dict.fromkeys(items, "Red tent")).find(text, limit=30)
    assert found == (items[:30] if blocks < 10 else [])
    assert searched == [10] * blocks
