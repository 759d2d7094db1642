"""Finding items by parts of ids and titles."""

from __future__ import annotations

import pytest

from pipelines.item_search import ItemSearch

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
