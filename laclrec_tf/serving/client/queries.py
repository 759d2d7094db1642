"""The questions one can ask a retriever, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from laclrec_tf.serving.client.answers import (
    AugmentedHistory,
    HistoryVectors,
    ItemVectors,
    Ranking,
    Recommendation,
    SimilarItems,
)
from laclrec_tf.serving.client.questions import (
    Answer,
    Items,
    RetrievalQuery,
    augment_query,
    embed_history_query,
    embed_items_query,
    rank_query,
    recommend_query,
    similar_items_query,
)


class HistoryQueries(ABC):
    """Questions about histories and items of any number and length.

    Every method raises `InputError` when an argument is out of its range, and when the answer is an error.
    """

    def recommend(
        self,
        history: Items,
        k: int = 10,
        exclude: Items = (),
        allow: Items = (),
        exclude_history: bool = True,
    ) -> list[Recommendation]:
        """Recommend the next items.

        Args:
            history: item ids, oldest first, or a list of such histories. Unknown items are skipped. A history
                without a known item, such as `[]`, gets the most popular items.
            k: how many items. Default: 10.
            exclude: item ids never to recommend, or one such list for each history. Default: none.
            allow: the only item ids to recommend, or one such list for each history. An empty list restricts
                nothing. Default: every item may come.
            exclude_history: never recommend an item of the history. Default: True.

        Returns:
            One `Recommendation` for each history; a single history gives a list of one.

        Raises:
            InputError: an argument is out of its range, or the answer is an error.
        """
        return self._ask(recommend_query(history, k, exclude, allow, exclude_history))

    def similar_items(self, items: Sequence[str], k: int = 10) -> list[SimilarItems]:
        """Find the items most similar to each of the given ones.

        Args:
            items: item ids, at least one.
            k: how many neighbours of each. Default: 10.

        Returns:
            One `SimilarItems` for each item; an unknown item has no neighbours.
        """
        return self._ask(similar_items_query(items, k))

    def embed_history(self, history: Items) -> HistoryVectors:
        """Turn histories into vectors, to look up in an outside index of `embed_items`' vectors.

        Args:
            history: item ids, oldest first, or a list of such histories.

        Returns:
            `HistoryVectors`, a row for each history.
        """
        return self._ask(embed_history_query(history))

    def embed_items(self, items: Sequence[str]) -> ItemVectors:
        """Turn items into vectors, to build an outside index of.

        Args:
            items: item ids, at least one.

        Returns:
            `ItemVectors`, a row for each item.
        """
        return self._ask(embed_items_query(items))

    def rank(self, history: Items, candidates: Items) -> list[Ranking]:
        """Put candidates in order for histories.

        Args:
            history: item ids, oldest first, or a list of such histories.
            candidates: item ids to rank, or one such list for each history. Items of the history may be among
                them; unknown ones come last, with the score `-inf`.

        Returns:
            One `Ranking` for each history; a single history gives a list of one.
        """
        return self._ask(rank_query(history, candidates))

    def augment(self, history: Items) -> list[AugmentedHistory]:
        """Ask what the learned augmenter does to histories.

        Args:
            history: item ids, oldest first, or a list of such histories. Unknown items are skipped.

        Returns:
            One `AugmentedHistory` for each history; a single history gives a list of one.

        Raises:
            InputError: an argument is wrong, the model has no augmenter, or the answer is an error.
        """
        return self._ask(augment_query(history))

    def _ask(self, query: RetrievalQuery[Answer]) -> Answer:
        return query.read([self._predict(query.signature, inputs) for inputs in query.requests])

    @abstractmethod
    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call a signature; strings are object arrays of bytes both ways."""
