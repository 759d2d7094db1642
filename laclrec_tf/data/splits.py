"""Leave-one-out: the part of a history to train on, and the item to evaluate on.

The last item is the test target, the item before it the validation target. The protocol "strict" trains on everything
before the validation item (as for the published figures), "refit" on everything before the test item (for deployment).
A history of fewer than three items is never evaluated, and all of it is training data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np

from laclrec_tf.errors import InputError

Protocol: TypeAlias = Literal["strict", "refit"]
Split: TypeAlias = Literal["validation", "test"]
PROTOCOLS: tuple[Protocol, ...] = ("strict", "refit")
SPLITS: tuple[Split, ...] = ("validation", "test")
SHORTEST_EVALUATED = 3


def training_part(history: np.ndarray, protocol: Protocol = "strict") -> np.ndarray:
    """Return the items to train on.

    Args:
        history: `[n]` item ids, oldest first.
        protocol: "strict" holds out the last two items, "refit" the last one. Default: "strict".

    Returns:
        `[n - 2]` or `[n - 1]` ids, a view of `history`; all `[n]` if there are fewer than three items.

    Raises:
        InputError: `protocol` is unknown.

    Example:
        >>> training_part(np.array([5, 6, 7, 8])).tolist(), training_part(np.array([5, 6])).tolist()
        ([5, 6], [5, 6])
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"Argument `protocol` must be {' or '.join(PROTOCOLS)}. Received: {protocol!r}.")
    if len(history) < SHORTEST_EVALUATED:
        return history
    return history[:-2] if protocol == "strict" else history[:-1]


def held_out(history: np.ndarray, split: Split) -> tuple[np.ndarray, int] | None:
    """Return the input and the target for evaluating a model on a history.

    Args:
        history: `[n]` item ids, oldest first.
        split: "validation" makes the second last item the target, "test" the last item.

    Returns:
        The ids before the target (a view of `history`) and the target; None if there are fewer than three items.

    Raises:
        InputError: `split` is unknown.

    Example:
        >>> held_out(np.array([5, 6, 7, 8]), "validation")
        (array([5, 6]), 7)
    """
    if split not in SPLITS:
        raise InputError(f"Argument `split` must be {' or '.join(SPLITS)}. Received: {split!r}.")
    if len(history) < SHORTEST_EVALUATED:
        return None
    target = len(history) - (1 if split == "test" else 2)
    return history[:target], int(history[target])


def held_out_pairs(histories: Iterable[np.ndarray], split: Split) -> list[tuple[np.ndarray, int]]:
    """Return the inputs and targets of all histories that are long enough, see `held_out`.

    Args:
        histories: per user `[n]` item ids, oldest first.
        split: "validation" or "test".

    Raises:
        InputError: `split` is unknown.

    Example:
        >>> held_out_pairs([np.array([5, 6, 7]), np.array([8])], "test")
        [(array([5, 6]), 7)]
    """
    return [pair for history in histories if (pair := held_out(history, split)) is not None]
