"""Merge the rows of several requests before the model runs, and split the rows of the outputs afterwards."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import Enum

import numpy as np

# A request with more elements in one input, with its copies for all rows, runs alone: merged, it could fill the memory.
MAX_ELEMENTS = 2**16
PROBED_ROWS = 4
EXTRA_COLUMNS = 3
Arrays = Mapping[str, np.ndarray]


class Merging(Enum):
    """Which requests for a signature may be merged, so that no answer depends on the other requests."""

    NEVER = 0
    SAME_SHAPES = 1
    PADDED = 2


def rows_of(inputs: Mapping[str, np.ndarray]) -> int | None:
    """Count the rows of a request.

    Args:
        inputs: arrays by name.

    Returns:
        The number of rows of all inputs but scalars; an input of one row applies to all rows. None when the numbers
        differ, or there are no rows.

    Example:
        >>> rows_of({"history": np.zeros((3, 5)), "exclude": np.zeros((1, 2)), "k": np.array(10)})
        3
    """
    return rows_of_shapes(array.shape for array in inputs.values())


def rows_of_shapes(shapes: Iterable[tuple[int, ...]]) -> int | None:
    """Count the rows of a request whose inputs have these shapes, see `rows_of`."""
    rows = {shape[0] for shape in shapes if shape}
    longest = max(rows, default=0)
    return longest if longest and rows <= {1, longest} else None


def merging_key(inputs: Mapping[str, np.ndarray], merging: Merging) -> Hashable | None:
    """Return the key of a request: it can be merged with requests of the same key.

    Args:
        inputs: the request's arrays by name.
        merging: which requests the signature allows to merge.

    Returns:
        The key. None when the request must run alone.
    """
    rows = rows_of(inputs)
    if merging is Merging.NEVER or rows is None:
        return None
    has_strings = any(array.dtype == object for array in inputs.values())
    key: list[Hashable] = []
    for name, array in inputs.items():
        if array.size * (rows if array.ndim and len(array) == 1 else 1) > MAX_ELEMENTS:
            return None
        if array.ndim == 0:
            key.append((name, array.item()))
        elif array.ndim == 1 and array.dtype.kind == "i" and has_strings:
            # One number for each row, such as `k`: the largest one sets the width of the answer.
            key.append((name, int(array.max())))
        elif not (merging is Merging.PADDED and array.dtype == object):
            key.append((name, array.shape[1:]))
    return tuple(key)


def merged(requests: Sequence[Mapping[str, np.ndarray]], rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Merge requests of one key.

    Args:
        requests: the arrays of each request, by name.
        rows: the number of rows of each request.

    Returns:
        Arrays of `sum(rows)` rows; scalars are unchanged. Strings are padded with `""` at the end, and an input of
        one row is repeated for all rows of its request.

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
    """Split the outputs of a merged run.

    Args:
        outputs: arrays of `sum(rows)` rows, by name.
        rows: the number of rows of each request.

    Returns:
        The outputs of each request. None when an output does not have `sum(rows)` rows.
    """
    ends = np.cumsum(rows)
    if any(array.ndim == 0 or len(array) != ends[-1] for array in outputs.values()):
        return None
    return [
        {name: array[end - count : end] for name, array in outputs.items()}
        for count, end in zip(rows, ends, strict=True)
    ]


def probe_merging(run: Callable[[Arrays], Arrays], example: Arrays) -> Merging:
    """Find out which requests for a signature may be merged, by running the rows of an example in three ways.

    The rows run one by one, merged, and merged with wider strings. When the shape of a row's answer depends on the
    other rows, requests must not be merged: the answer of `augment` is as wide as the longest history. When it depends
    on the padding, as in `rank`, only requests of the same shapes may be merged.

    Args:
        run: calls the signature.
        example: inputs of at least two rows, preferably of different lengths.

    Returns:
        Which requests may be merged; `NEVER` when the example has one row.

    Example:
        >>> example = {"history": np.full((2, 3), b"tent", object)}
        >>> probe_merging(lambda inputs: {"first": inputs["history"][:, 0]}, example)
        <Merging.PADDED: 2>
        >>> probe_merging(lambda inputs: {"same": inputs["history"]}, example)
        <Merging.SAME_SHAPES: 1>
    """
    rows = min(rows_of(example) or 0, PROBED_ROWS)
    if rows < 2:
        return Merging.NEVER
    singles = [_row(example, row) for row in range(rows)]
    alone = [_shapes(run(single)) for single in singles]
    together = merged(singles, [1] * rows)
    if not _same(run(together), alone):
        return Merging.NEVER
    padded = {
        name: np.pad(array, [(0, 0), *[(0, EXTRA_COLUMNS)] * (array.ndim - 1)], constant_values=b"")
        if array.dtype == object and array.ndim > 1
        else array
        for name, array in together.items()
    }
    return Merging.PADDED if _same(run(padded), alone) else Merging.SAME_SHAPES


def _row(example: Arrays, row: int) -> dict[str, np.ndarray]:
    return {name: array[[row if len(array) > 1 else 0]] if array.ndim else array for name, array in example.items()}


def _shapes(outputs: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in outputs.items()}


def _same(outputs: Arrays, alone: list[dict[str, tuple[int, ...]]]) -> bool:
    parts = split(outputs, [1] * len(alone))
    return parts is not None and [_shapes(part) for part in parts] == alone
