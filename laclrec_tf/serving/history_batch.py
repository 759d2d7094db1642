"""Lists of histories, checked, and as the arrays that the signatures take: padded, and of equal shapes for batching."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from laclrec_tf.errors import InputError


def as_histories(argument: str, value: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """Read one history, or a list of histories.

    Args:
        argument: the argument's name, for messages.
        value: item strings, or lists of item strings. An empty list is one empty history.

    Returns:
        The histories, at least one.

    Raises:
        InputError: `value` is a string, or holds anything but strings or lists of strings.

    Example:
        >>> as_histories("history", ["tent", "stove"]), as_histories("history", [["tent"], []])
        ([['tent', 'stove']], [['tent'], []])
    """
    if _is_list(value):
        entries: list[Any] = list(value)
        if all(isinstance(entry, str) for entry in entries):
            return [entries]
        if all(_is_list(entry) and all(isinstance(item, str) for item in entry) for entry in entries):
            return [list(entry) for entry in entries]
    raise InputError(
        f"Argument `{argument}` must be a list of item ids (strings), or a list of such lists. "
        f"Received: {reprlib.repr(value)}."
    )


def as_items(argument: str, value: Sequence[str]) -> list[str]:
    """Read a list of items.

    Args:
        argument: the argument's name, for messages.
        value: item strings, at least one.

    Returns:
        The items.

    Raises:
        InputError: `value` is a string, is empty, or holds anything but strings.

    Example:
        >>> as_items("items", ("tent", "stove"))
        ['tent', 'stove']
    """
    entries = list(value) if _is_list(value) else []
    if entries and all(isinstance(entry, str) for entry in entries):
        return entries
    raise InputError(
        f"Argument `{argument}` must be a list of item ids (strings), at least one. Received: {reprlib.repr(value)}."
    )


def padded_batch(histories: Sequence[Sequence[str]]) -> np.ndarray:
    """Write histories of different lengths as the rows of one array.

    Args:
        histories: `B` lists of item strings.

    Returns:
        `[B, longest]` object array of UTF-8 bytes, `b""` at the end of shorter histories.

    Example:
        >>> padded_batch([["tent", "stove"], ["rope"]]).tolist()
        [[b'tent', b'stove'], [b'rope', b'']]
    """
    batch = np.full((len(histories), max(map(len, histories), default=0)), b"", dtype=object)
    for row, history in zip(batch, histories, strict=True):
        # A lone surrogate has no UTF-8 form. Passed through, it is an unknown item.
        row[: len(history)] = [item.encode("utf-8", "surrogatepass") for item in history]
    return batch


def equal_rows(inputs: Mapping[str, np.ndarray], width: int) -> dict[str, np.ndarray]:
    """Give each input a row for each history, and all lists one width, so that requests can be concatenated.

    Args:
        inputs: the inputs of a request, by name: `[B, ...]`, and scalars or `[1, ...]` for all rows.
        width: number of items in each list; `b""` pads shorter ones.

    Returns:
        The same inputs as `[B]`, and lists as `[B, width]`.

    Raises:
        InputError: a list is longer than `width`.

    Example:
        >>> inputs = {"history": padded_batch([["tent"], ["rope"]]), "k": np.array(3)}
        >>> {name: array.tolist() for name, array in equal_rows(inputs, width=2).items()}
        {'history': [[b'tent', b''], [b'rope', b'']], 'k': [3, 3]}
    """
    rows = max(len(array) if array.ndim else 1 for array in inputs.values()) if inputs else 0
    equal = {}
    for name, array in inputs.items():
        if array.ndim == 2:
            missing = width - array.shape[1]
            if missing < 0:
                raise InputError(
                    f"Argument `row_width` must be at least the length of every list. Received: row_width={width} and "
                    f"{array.shape[1]} items in `{name}`. Give all clients a larger one, or send shorter lists."
                )
            array = np.concatenate([array, np.full((len(array), missing), b"", object)], axis=1)
        equal[name] = np.broadcast_to(array, (rows, *array.shape[1:]))
    return equal


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict))
