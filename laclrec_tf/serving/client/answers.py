"""The results of queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recommendation:
    """The items recommended for one history, best first.

    Args:
        item_ids: the items; fewer than `k` when fewer are eligible.
        scores: score of each item. For a history without a known item: its share of all interactions.
        unknown: number of items of the history that the model does not know. Default: 0.

    Example:
        >>> Recommendation(("tent", "stove"), (1.5, 0.25)).item_ids[0]
        'tent'
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    unknown: int = 0


@dataclass(frozen=True)
class SimilarItems:
    """The items most similar to one item, most similar first.

    Args:
        item: the item of the query.
        item_ids: its neighbours, never the item itself; none for an unknown item.
        scores: cosine similarity of each neighbour.
        known: whether the model knows the item.

    Example:
        >>> SimilarItems("tent", ("stove",), (0.75,), known=True).item_ids
        ('stove',)
    """

    item: str
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    known: bool


@dataclass(frozen=True)
class Ranking:
    """Candidates ranked for one history, best first; equal scores keep the order of the query.

    Args:
        item_ids: all candidates.
        scores: score of each candidate; -1e30 for one that is not eligible.
        eligible: whether the model may recommend each candidate: it knows it, and it is not retired.
        unknown: number of items of the history that the model does not know.

    Example:
        >>> Ranking(("stove", "tent"), (1.5, 0.25), (True, True), unknown=0).item_ids[0]
        'stove'
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    eligible: tuple[bool, ...]
    unknown: int


@dataclass(frozen=True, eq=False)
class HistoryVectors:
    """Histories as vectors, for an external index; a larger dot product with an item's vector is a better match.

    Args:
        vectors: `[B, D]` float32, a row for each history.
        unknown: number of items of each history that the model does not know.

    Example:
        >>> HistoryVectors(np.zeros([2, 64], np.float32), unknown=(0, 1)).vectors.shape
        (2, 64)
    """

    vectors: np.ndarray
    unknown: tuple[int, ...]

    def __repr__(self) -> str:
        return f"HistoryVectors({len(self.vectors):,} histories, {self.vectors.shape[1]} dimensions)"


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """Items as vectors, for an external index.

    Args:
        vectors: `[B, D]` float32, a row for each item.
        known: whether the model knows each item; the vector of an unknown item has no meaning.

    Example:
        >>> ItemVectors(np.zeros([2, 64], np.float32), known=(True, False)).known
        (True, False)
    """

    vectors: np.ndarray
    known: tuple[bool, ...]

    def __repr__(self) -> str:
        unknown = f", {self.known.count(False):,} of them unknown" if False in self.known else ""
        return f"ItemVectors({len(self.vectors):,} items{unknown}, {self.vectors.shape[1]} dimensions)"


@dataclass(frozen=True)
class AugmentedHistory:
    """What the augmenter did to one history.

    Args:
        history: the most recent known items, oldest first.
        operations: "keep", "delete" or "insert" for each item of `history`.
        probabilities: probabilities of keep, delete and insert for each item of `history`.
        inserted: the items inserted before each item of `history`, in reading order.
        edited_history: the history after all edits.
        unknown: number of items of the query's history that the model does not know. Default: 0.

    Example:
        >>> augmented = AugmentedHistory(("tent",), ("keep",), ((0.9, 0.0, 0.1),), ((),), ("tent",))
        >>> list(zip(augmented.history, augmented.operations))
        [('tent', 'keep')]
    """

    history: tuple[str, ...]
    operations: tuple[str, ...]
    probabilities: tuple[tuple[float, float, float], ...]
    inserted: tuple[tuple[str, ...], ...]
    edited_history: tuple[str, ...]
    unknown: int = 0
