"""Several requests as one: merged by rows before the model runs, split by rows after."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from enum import Enum

import numpy as np

# A request with more elements than this in one input runs alone: copied to every row they could fill the memory.
MAX_ELEMENTS = 2**16


class Merging(Enum):
    """Which requests for a signature may be merged, so that nobody's answer depends on who else asks."""

    NEVER = 0
    SAME_SHAPES = 1
    PADDED = 2


def rows_of(inputs: Mapping[str, np.ndarray]) -> int | None:
    """Count the rows of a request.

    Args:
        inputs: arrays by name.

    Returns:
        The rows that all inputs but scalars have; an input may have one row, which stands for all. None when the
        rows do not fit, or there are none.

    Example:
        >>> rows_of({"history": np.zeros((3, 5)), "exclude": np.zeros((1, 2)), "k": np.array(10)})
        3
    """
    rows = {len(array) for array in inputs.values() if array.ndim}
    most = max(rows, default=0)
    return most if most and rows <= {1, most} else None


def merging_key(inputs: Mapping[str, np.ndarray], merging: Merging) -> Hashable | None:
    """Say which requests a request can be merged with: those of the same key.

    Args:
        inputs: the request's arrays by name.
        merging: what the signature allows.

    Returns:
        The key. None when it must run alone.
    """
    rows = rows_of(inputs)
    if merging is Merging.NEVER or rows is None:
        return None
    asks_with_strings = any(array.dtype == object for array in inputs.values())
    key: list[Hashable] = []
    for name, array in inputs.items():
        if array.size * (rows if array.ndim and len(array) == 1 else 1) > MAX_ELEMENTS:
            return None
        if array.ndim == 0:
            key.append((name, array.item()))
        elif array.ndim == 1 and array.dtype.kind == "i" and asks_with_strings:
            # One number for each list, such as `k`: the answer is as wide as the largest asks for.
            key.append((name, int(array.max())))
        elif not (merging is Merging.PADDED and array.dtype == object):
            key.append((name, array.shape[1:]))
    return tuple(key)


def merged(requests: Sequence[Mapping[str, np.ndarray]], rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Put requests of one key together.

    Args:
        requests: the arrays of each, by name.
        rows: the rows of each.

    Returns:
        Arrays of `sum(rows)` rows; scalars as they are. Strings are padded with `""` behind, and an input of one
        row is repeated for all rows of its request.

    Example:
        >>> merged([{"history": np.array([[b"a"]], object)}, {"history": np.array([[b"b", b"c"]], object)}], [1, 1])
        {'history': array([[b'a', b''],
               [b'b', b'c']], dtype=object)}
    """
    together = {}
    for name, first in requests[0].items():
        if first.ndim == 0:
            together[name] = first
            continue
        arrays = [request[name] for request in requests]
        widths = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
        filler = b"" if first.dtype == object else 0
        whole = np.full((sum(rows), *widths), filler, first.dtype)
        start = 0
        for array, count in zip(arrays, rows, strict=True):
            whole[(slice(start, start + count), *map(slice, array.shape[1:]))] = array
            start += count
        together[name] = whole
    return together


def split(outputs: Mapping[str, np.ndarray], rows: Sequence[int]) -> list[dict[str, np.ndarray]] | None:
    """Give each request its rows of the answer.

    Args:
        outputs: arrays of `sum(rows)` rows, by name.
        rows: the rows of each request.

    Returns:
        The outputs of each request. None when an output does not have a row for each row asked.
    """
    ends = np.cumsum(rows)
    if any(array.ndim == 0 or len(array) != ends[-1] for array in outputs.values()):
        return None
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for count, end in zip(rows, ends, strict=True)
    ]
