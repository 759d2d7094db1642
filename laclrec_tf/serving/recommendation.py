"""What a query gives back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommendation:
    """The items recommended for one history, best first.

    Args:
        item_ids: the items; fewer than asked for when fewer are eligible.
        scores: one for each item. For a history without a known item these are shares of all interactions.

    Example:
        >>> Recommendation(("tent", "stove"), (1.5, 0.25)).item_ids[0]
        'tent'
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class AugmentedHistory:
    """What the augmenter did to one history.

    Args:
        history: the known items, the most recent ones, oldest first.
        operations: "keep", "delete" or "insert", one for each item of `history`.
        probabilities: of keep, delete and insert, one triple for each item of `history`.
        inserted: the items inserted before each item of `history`, in reading order.
        edited_history: the history after all edits.

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
