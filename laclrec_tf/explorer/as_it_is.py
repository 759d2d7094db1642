"""Recommendations from a history as it is, for a version that recommends over its edits; and events that are noise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.client.answers import Recommendation
from laclrec_tf.serving.client.client import AsyncRetrievalClient

BLOCK = 10_000  # items whose vectors are requested within one timeout


class AsItIs:
    """What a version that mixes over edits would recommend without them, from the vectors of histories and items.

    The first use requests the vectors and the popularity of all items: 4 bytes for each number are kept.

    Args:
        client: Client of the server.
        vocabulary: Items of the model.
        exclude_history: Whether the items of a history are not recommended. Default: True.

    Example:
        >>> as_it_is = AsItIs(client, ServedItems.read(Path("saved_models/shop")).vocabulary)  # doctest: +SKIP
        >>> (await as_it_is.recommend(["tent"], k=2)).item_ids  # doctest: +SKIP
        ('stove', 'rope')
    """

    def __init__(self, client: AsyncRetrievalClient, vocabulary: ItemVocabulary, exclude_history: bool = True) -> None:
        """Store the arguments. Nothing is requested yet."""
        self.client, self.vocabulary, self.exclude_history = client, vocabulary, exclude_history
        self._read: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._reading = asyncio.Lock()

    async def recommend(self, history: Sequence[str], k: int) -> Recommendation:
        """Recommend items that are not retired and, if the model excludes them, not in the history.

        Args:
            history: Item ids, oldest first, at least one of them known.
            k: Max number of items.

        Returns:
            The items, best first; a score is the item's share of the softmax over all known items.

        Raises:
            InputError: The server does not answer.
        """
        vectors, popularity, known = await self.items()
        user = await self.client.embed_history([history])
        left = popularity >= 0
        if self.exclude_history:
            left[self._places(history)] = False

        def best() -> Recommendation:  # outside the event loop, because a large catalogue takes some tenths of a second
            scores = vectors @ user.vectors[0]
            log_total = np.logaddexp.reduce(scores[known].astype(np.float64))
            places = np.flatnonzero(left)
            places = places[np.argsort(-scores[places], kind="stable")[:k]]
            shares = np.exp(scores[places] - log_total).tolist()
            return Recommendation(tuple(self.vocabulary.items[place] for place in places), tuple(shares))

        return await asyncio.to_thread(best)

    async def draw_noise(self, never: Iterable[str], seed: int) -> str | None:
        """Draw an item by popularity.

        Args:
            never: Items that are not drawn, such as those of the history.
            seed: Seed of the draw: the same arguments draw the same item.

        Returns:
            The item; None if no item is left.

        Raises:
            InputError: The server does not answer.
        """
        _, popularity, _ = await self.items()
        weights = popularity.copy()
        weights[self._places(never)] = -1
        left = np.flatnonzero(weights >= 0)
        if not left.size:
            return None
        chances = weights[left] / weights[left].sum() if weights[left].any() else None
        return self.vocabulary.items[np.random.default_rng(seed).choice(left, p=chances)]

    def _places(self, items: Iterable[str]) -> np.ndarray:
        return np.array([item_id - 1 for item_id in self.vocabulary.to_ids(items) if item_id], np.int64)

    async def items(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Request the vectors and the popularity of all items once, and keep them.

        Returns:
            `[N, D]` float32 vectors; `[N]` float64 shares of all interactions, -1 for an item that is not recommended;
            and `[N]` bool, whether the server knows the item: it may have loaded a version with other items.

        Raises:
            InputError: The server does not answer.
        """
        async with self._reading:
            if self._read is None:
                items = self.vocabulary.items
                (popular,) = await self.client.recommend([[]], len(items))
                popularity = np.full(len(items), -1.0)
                for item_id, share in zip(self.vocabulary.to_ids(popular.item_ids), popular.scores, strict=True):
                    if item_id:
                        popularity[item_id - 1] = share
                blocks = range(0, len(items), BLOCK)
                parts = [await self.client.embed_items(items[start : start + BLOCK]) for start in blocks]
                vectors = np.concatenate([part.vectors for part in parts])
                self._read = vectors, popularity, np.concatenate([part.known for part in parts])
        return self._read
