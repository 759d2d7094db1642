"""Finding out which signatures may be merged, by trying it on the warm-up requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from laclrec_tf.serving.batch_merging import Merging, merged, rows_of, split

ROWS = 4
EXTRA_COLUMNS = 3

Arrays = Mapping[str, np.ndarray]


def probe_merging(run: Callable[[Arrays], Arrays], example: Arrays) -> Merging:
    """Ask for the rows of an example one by one, together, and together with wider strings.

    When the shapes of a row's answer depend on the rows beside it, requests must not be merged: `augment` answers as
    wide as the longest history. When they depend on the padding, as in `rank`, only requests of the same
    shapes may be merged.

    Args:
        run: calls the signature.
        example: inputs of at least two rows, better of different lengths.

    Returns:
        What is safe; `NEVER` when the example has one row.

    Example:
        >>> example = {"history": np.full((2, 3), b"tent", object)}
        >>> probe_merging(lambda inputs: {"first": inputs["history"][:, 0]}, example)
        <Merging.PADDED: 2>
        >>> probe_merging(lambda inputs: {"same": inputs["history"]}, example)
        <Merging.SAME_SHAPES: 1>
    """
    rows = min(rows_of(example) or 0, ROWS)
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
    """Take one row as a request of its own."""
    taken = {}
    for name, array in example.items():
        if array.ndim:
            array = array[[row if len(array) > 1 else 0]]
        taken[name] = array
    return taken


def _shapes(outputs: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in outputs.items()}


def _same(outputs: Arrays, alone: list[dict[str, tuple[int, ...]]]) -> bool:
    parts = split(outputs, [1] * len(alone))
    return parts is not None and [_shapes(part) for part in parts] == alone
