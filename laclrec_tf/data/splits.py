"""Leave-one-out: which part of a history trains, and which item it is tested on.

The last item is the test target, the one before it the validation target. "strict" trains on everything
before the validation item (the way of the published figures), "refit" on everything before the test item
(what one would deploy). A history of fewer than three items is never evaluated and trains whole.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from laclrec_tf.errors import InputError

Protocol: TypeAlias = Literal["strict", "refit"]
Split: TypeAlias = Literal["validation", "test"]
PROTOCOLS: tuple[Protocol, ...] = ("strict", "refit")
SPLITS: tuple[Split, ...] = ("validation", "test")
SHORTEST_EVALUATED = 3


def training_part(history: np.ndarray, protocol: Protocol = "strict") -> np.ndarray:
    """Return the items that may be trained on.

    Args:
        history: `[n]` item ids, oldest first.
        protocol: "strict" leaves out the last two items, "refit" the last one. Default: "strict".

    Returns:
        `[n - 2]` or `[n - 1]` ids, a view of `history`; all `[n]` of a history of fewer than three.

    Raises:
        InputError: `protocol` is neither.

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
    """Return what a model is asked on this history, and the answer.

    Args:
        history: `[n]` item ids, oldest first.
        split: "validation" asks for the last item but one, "test" for the last.

    Returns:
        The ids before the target (a view of `history`) and the target; None for fewer than three items.

    Raises:
        InputError: `split` is neither.

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


def leave_one_out(
    history: np.ndarray, split: Split, protocol: Protocol = "strict"
) -> tuple[np.ndarray, tuple[np.ndarray, int] | None]:
    """Return `training_part(history, protocol)` and `held_out(history, split)`, after checking that they fit.

    Args:
        history: `[n]` item ids, oldest first.
        split: "validation" or "test".
        protocol: "strict" or "refit". Default: "strict".

    Returns:
        The training part, and history and target or None.

    Raises:
        InputError: "refit" with "validation": the validation item is trained on.

    Example:
        >>> leave_one_out(np.array([5, 6, 7]), "test", "refit")
        (array([5, 6]), (array([5, 6]), 7))
    """
    if protocol == "refit" and split == "validation":
        raise InputError("Protocol 'refit' trains on the validation item. Use the split 'test' with it.")
    return training_part(history, protocol), held_out(history, split)
