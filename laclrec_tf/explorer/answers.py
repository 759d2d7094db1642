"""What the explorer shows, requested from a server: recommendations, edits, similar items and explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from laclrec_tf.errors import InputError
from laclrec_tf.explorer.as_it_is import AsItIs
from laclrec_tf.serving.client.answers import AugmentedHistory, Recommendation, SimilarItems
from laclrec_tf.serving.client.client import AsyncRetrievalClient
from laclrec_tf.serving.version.metadata import ServedItems

BLOCK = 100_000  # items searched at a time; the search stops when enough items are found
OPERATIONS = ("keep", "delete", "insert")  # in the order of `probabilities`
MAX_PLACE = 1000  # places beyond this one are not reported


class ItemSearch:
    """Find items whose id or title contains all words of a text. Case does not matter.

    Args:
        items: Item ids.
        titles: Titles by item id. Ids that are not in `items` are ignored. Default: none.

    Example:
        >>> search = ItemSearch(["sku-1", "sku-2", "sku-10"], {"sku-2": "Red tent"})
        >>> search.find("TENT red"), search.find("sku-1")
        (['sku-2'], ['sku-1', 'sku-10'])
    """

    def __init__(self, items: Sequence[str], titles: Mapping[str, str] | None = None) -> None:
        """Convert ids and titles to lower case once."""
        titles = titles or {}
        table = pl.DataFrame({"item": items, "title": [titles.get(item, "") for item in items]})
        lower = pl.col("item", "title").str.to_lowercase()
        self._table = table.with_columns(
            lower.name.prefix("lower_"), pl.concat_str(lower, separator="\n").alias("both")
        ).drop("title")

    def find(self, text: str, limit: int = 8) -> list[str]:
        """Find items. A million items take some hundredths of a second, in polars and thus without the GIL.

        Args:
            text: Words to find. An empty text finds every item.
            limit: Max number of items. Default: 8.

        Returns:
            Item ids: first the item whose id is the text, then those whose id or title begins with the text, then the
            others; each group in the order of the catalogue.
        """
        text = " ".join(text.lower().split())
        if not text:
            return _items(self._table.lazy(), limit)
        named = pl.col("lower_item") == text
        begins = pl.col("lower_item").str.starts_with(text) | pl.col("lower_title").str.starts_with(text)
        found: list[str] = []
        for condition in (named, begins & ~named):  # what begins with the text contains all its words
            found += _items(self._table.lazy().filter(condition), limit - len(found))
        for rows in self._table.iter_slices(BLOCK):
            if len(found) == limit:
                break
            for word in text.split():  # each searches only what contains the words before it
                rows = rows.filter(pl.col("both").str.contains(word, literal=True))
            found += _items(rows.lazy().filter(~begins), limit - len(found))
        return found


def _items(rows: pl.LazyFrame, limit: int) -> list[str]:
    return rows.select("item").head(limit).collect()["item"].to_list()


@dataclass(frozen=True)
class PickedItem:
    """One item of a history, and what the model does with it.

    Args:
        item: Item id.
        mark: "keep", "delete" or "insert" if the augmenter decides on it; "unknown" or "too old" if the model does not
            read it; "read" if the model has no augmenter.
        probabilities: Probabilities of keep, delete and insert. Default: None, no decision.
        inserted: Items inserted before it, in reading order. Default: none.
    """

    item: str
    mark: str
    probabilities: tuple[float, float, float] | None = None
    inserted: tuple[str, ...] = ()


@dataclass(frozen=True)
class CleanedItem:
    """One item of the cleaned history.

    Args:
        item: Item id.
        inserted: Whether the augmenter inserted it.
    """

    item: str
    inserted: bool


@dataclass(frozen=True)
class HistoryAnswers:
    """A model's answers for a history.

    Args:
        picked: Items of the history, oldest first.
        recommended: Recommendation from the history as it is. None if it cannot be computed, see `problem`.
        by_popularity: Whether the most popular items are recommended, because the model knows no item of the history.
            Their scores are shares of all interactions.
        cleaned: History after the augmenter's edits. None for a model without an augmenter.
        recommended_cleaned: Recommendation from the cleaned history. None for a model without an augmenter, and for a
            version that mixes over edits.
        over_edits: Recommendation over the history's edits. Default: None, the version does not mix over them.
        places: Place of the held-out item as it is and over the edits, in words. Default: None, no item is held out.
        problem: Why there is no recommendation from the history as it is. Only a version that mixes over edits may
            have none. Default: there is one.
    """

    picked: tuple[PickedItem, ...]
    recommended: Recommendation | None
    by_popularity: bool
    cleaned: tuple[CleanedItem, ...] | None
    recommended_cleaned: Recommendation | None
    over_edits: Recommendation | None = None
    places: tuple[str, ...] | None = None
    problem: str = ""


class ExplorerAnswers:
    """Request from a server what the explorer shows.

    Both recommendations leave out the items of the history, if `items.exclude_history` says so, but not inserted items,
    so both choose from the same items. The server's own default does not matter.
    A version that mixes over edits recommends from the history as it is, and over its edits; any other one recommends
    from the history as it is, and from the cleaned history.

    Args:
        client: Client of the server.
        items: Items and signatures of the model.
        k: Number of items to recommend. Default: 10.

    Example:
        >>> answers = ExplorerAnswers(client, ServedItems.read(Path("saved_models/shop")))  # doctest: +SKIP
        >>> (await answers.of_history(["tent"])).picked[0].mark  # doctest: +SKIP
        'keep'
    """

    def __init__(self, client: AsyncRetrievalClient, items: ServedItems, k: int = 10) -> None:
        """Store the arguments and check for an augmenter."""
        self.client, self.items, self.k = client, items, k
        self.has_augmenter = "augment" in items.signatures
        self.mixes = items.edits != "none"
        self.as_it_is = AsItIs(client, items.vocabulary, items.exclude_history)

    async def of_history(self, history: Sequence[str], held_out: str | None = None) -> HistoryAnswers:
        """Request edits and recommendations for a history.

        Args:
            history: Item ids, oldest first. They may include unknown ids.
            held_out: Item whose places are looked up, for a version that mixes over edits. Default: None.

        Raises:
            InputError: The server does not answer.
        """
        known = [item for item in history if item in self.items.vocabulary]
        if self.mixes:
            return await self._over_edits(history, held_out, bool(known))
        if not (known and self.has_augmenter):
            (recommended,) = await self._recommend(history, self.k)
            picked = _picked(history, self.items, None)
            none: tuple[CleanedItem, ...] | None = () if self.has_augmenter else None
            return HistoryAnswers(picked, recommended, not known, none, recommended if self.has_augmenter else None)
        (augmented,) = await self.client.augment([history])
        excluded = history if self.items.exclude_history else ()
        recommended, recommended_cleaned = await self.client.recommend(
            [history, augmented.edited_history], self.k, exclude=excluded, exclude_history=False
        )
        picked = _picked(history, self.items, augmented)
        return HistoryAnswers(picked, recommended, False, cleaned_items(augmented), recommended_cleaned)

    async def _over_edits(self, history: Sequence[str], held_out: str | None, is_known: bool) -> HistoryAnswers:
        deep = self.k if held_out is None else max(self.k, min(MAX_PLACE, self.items.vocabulary.n_items))
        try:
            (over_edits,) = await self._recommend(history, deep)
        except InputError:  # such as a server that allows no `k` as large as this one
            if deep == self.k:
                raise
            deep = self.k
            (over_edits,) = await self._recommend(history, deep)
        as_it_is: Recommendation | None = over_edits
        augmented, problem = None, ""
        if is_known:
            try:
                as_it_is = await self.as_it_is.recommend(history, deep)
            except InputError as error:  # it requests much more: as many items as there are, and all vectors
                as_it_is, problem = None, str(error)
            augmented = (await self.client.augment([history]))[0] if self.has_augmenter else None
        both = (as_it_is, over_edits)
        first = [each and Recommendation(each.item_ids[: self.k], each.scores[: self.k]) for each in both]
        places = None
        if held_out is not None:
            is_excluded = self.items.exclude_history and held_out in history
            is_candidate = held_out in self.items.vocabulary and not is_excluded
            places = tuple(
                _place(held_out, each, deep) if is_candidate and each else "not recommended" for each in both
            )
        picked = _picked(history, self.items, augmented)
        return HistoryAnswers(picked, first[0], not is_known, None, None, first[1], places, problem)

    async def _recommend(self, history: Sequence[str], k: int) -> list[Recommendation]:
        return await self.client.recommend([history], k, exclude_history=self.items.exclude_history)

    async def similar(self, item: str, k: int = 8) -> SimilarItems:
        """Request items similar to one. An unknown item has none, and so has every item of a model without vectors.

        Raises:
            InputError: The server does not answer.
        """
        if "similar_items" not in self.items.signatures:
            return SimilarItems(item, (), (), known=item in self.items.vocabulary)
        return (await self.client.similar_items([item], k))[0]

    async def why(self, history: Sequence[str], item: str) -> str:
        """Explain in one or two sentences why an item is recommended or not.

        Args:
            history: Item ids, oldest first.
            item: Item to explain.

        Raises:
            InputError: The server does not answer.
        """
        if item not in self.items.vocabulary:
            return "Not recommended: unknown. The training data did not contain it."
        deep = min(MAX_PLACE, self.items.vocabulary.n_items)
        ranked, recommended = await asyncio.gather(self.client.rank([history], [item]), self._recommend(history, deep))
        score = ranked[0].scores[0]
        if not ranked[0].eligible[0]:
            return "Not recommended: retired. The model still reads it in histories but never recommends it."
        over = " over its edits" if self.mixes else ""
        if item in history and self.items.exclude_history:
            return f"Not recommended: excluded, because it is in the history. Its score is {score:.3g}."
        found = recommended[0]
        if item not in found.item_ids:
            # A partitioned index does not score every item.
            beyond = f"beyond place {deep:,}" if deep < self.items.vocabulary.n_items else "not found by the index"
            return f"Not recommended{over}: {beyond}. Its score is {score:.3g}."
        place = found.item_ids.index(item) + 1
        if place <= self.k:
            return f"Recommended{over}: place {place} of {self.k}. Its score is {score:.3g}."
        return (
            f"Not recommended{over}: place {place:,}. Its score is {score:.3g}; "
            f"place {self.k} has {found.scores[self.k - 1]:.3g}."
        )


def _place(item: str, found: Recommendation, deep: int) -> str:
    if item in found.item_ids:
        return f"place {found.item_ids.index(item) + 1:,}"
    return f"beyond place {deep:,}" if len(found.item_ids) == deep else "not recommended"


def cleaned_items(augmented: AugmentedHistory) -> tuple[CleanedItem, ...]:
    """Return the items of a cleaned history, and whether each was inserted.

    Args:
        augmented: The augmenter's edits.

    Returns:
        The items of `augmented.edited_history`.

    Example:
        >>> three = ((0.9, 0.1, 0.0),) * 2
        >>> done = AugmentedHistory(("tent", "mug"), ("insert", "delete"), three, (("peg",), ()), ("peg", "tent"))
        >>> [(each.item, each.inserted) for each in cleaned_items(done)]
        [('peg', True), ('tent', False)]
    """
    items: list[CleanedItem] = []
    for item, operation, inserted in zip(augmented.history, augmented.operations, augmented.inserted, strict=True):
        items += [CleanedItem(each, True) for each in inserted]
        if operation != "delete":
            items.append(CleanedItem(item, False))
    return tuple(items[-len(augmented.edited_history) :])  # a long history keeps its most recent items


def _picked(history: Sequence[str], items: ServedItems, augmented: AugmentedHistory | None) -> tuple[PickedItem, ...]:
    """Match the history with the part that the model read: the most recent known items."""
    unread = sum(item in items.vocabulary for item in history) - items.max_length
    picked, place = [], 0
    for item in history:
        if item not in items.vocabulary:
            picked.append(PickedItem(item, "unknown"))
        elif unread > 0:
            picked.append(PickedItem(item, "too old"))
            unread -= 1
        elif augmented is None:
            picked.append(PickedItem(item, "read"))
        else:
            picked.append(
                PickedItem(item, augmented.operations[place], augmented.probabilities[place], augmented.inserted[place])
            )
            place += 1
    return tuple(picked)
