"""Finding items by what people type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl


class ItemSearch:
    """Finds items whose id or title holds all words of a text, whatever their case.

    Args:
        items: the item ids.
        titles: the title of some of them; others than `items` are ignored. Default: none.

    Example:
        >>> search = ItemSearch(["sku-1", "sku-2", "sku-10"], {"sku-2": "Red tent"})
        >>> search.find("TENT red"), search.find("sku-1")
        (['sku-2'], ['sku-1', 'sku-10'])
    """

    def __init__(self, items: Sequence[str], titles: Mapping[str, str] | None = None) -> None:
        """Put ids and titles in lower case once."""
        titles = titles or {}
        table = pl.DataFrame({"item": items, "title": [titles.get(item, "") for item in items]})
        self._table = table.with_columns(
            pl.col("item").str.to_lowercase().alias("id"), pl.col("title").str.to_lowercase()
        )

    def find(self, text: str, limit: int = 8) -> list[str]:
        """Find items.

        Args:
            text: words; none finds every item.
            limit: how many items at most. Default: 8.

        Returns:
            Item ids: the one that the text names first, then those whose id or title begins with the text, then the
            others, each in the order of the catalogue.
        """
        text = " ".join(text.lower().split())
        words = text.split()
        holds = [
            pl.col("id").str.contains(word, literal=True) | pl.col("title").str.contains(word, literal=True)
            for word in words
        ]
        begins = pl.col("id").str.starts_with(text) | pl.col("title").str.starts_with(text)
        order = [pl.col("id") != text, ~begins]  # False comes first
        found = self._table.lazy().filter(*holds).sort(order, maintain_order=True).select("item").head(limit).collect()
        return found["item"].to_list()
