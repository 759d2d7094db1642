"""Finding items by what people type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

BLOCK = 100_000  # items searched at a time: no more are, once enough are found


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
        lower = pl.col("item", "title").str.to_lowercase()
        self._table = table.with_columns(
            lower.name.prefix("lower_"), pl.concat_str(lower, separator="\n").alias("both")
        ).drop("title")

    def find(self, text: str, limit: int = 8) -> list[str]:
        """Find items; among a million it takes some hundredths of a second, in polars and so without the GIL.

        Args:
            text: words; none finds every item.
            limit: how many items at most. Default: 8.

        Returns:
            Item ids: the one that the text names first, then those whose id or title begins with the text, then the
            others, each in the order of the catalogue.
        """
        text = " ".join(text.lower().split())
        if not text:
            return _items(self._table.lazy(), limit)
        named = pl.col("lower_item") == text
        begins = pl.col("lower_item").str.starts_with(text) | pl.col("lower_title").str.starts_with(text)
        found: list[str] = []
        for condition in (named, begins & ~named):  # what begins with the text holds all its words
            found += _items(self._table.lazy().filter(condition), limit - len(found))
        for rows in self._table.iter_slices(BLOCK):
            if len(found) == limit:
                break
            for word in text.split():  # each is looked for only in what holds the ones before
                rows = rows.filter(pl.col("both").str.contains(word, literal=True))
            found += _items(rows.lazy().filter(~begins), limit - len(found))
        return found


def _items(rows: pl.LazyFrame, most: int) -> list[str]:
    return rows.select("item").head(most).collect()["item"].to_list()
