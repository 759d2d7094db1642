"""The same model for a larger catalogue: new items behind the old ones, nothing else changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from laclrec_tf.models.laclrec import LACLRec


def grown_model(model: LACLRec, vectors: np.ndarray) -> LACLRec:
    """Make a model that knows more items.

    Items keep their ids and rows, EOS and MASK keep their rows and move behind the new items. All other weights are
    the same, since only the item table knows the catalogue's size. A compiled model stays compiled and keeps its
    optimizer's state: momentum and velocity of new rows begin at 0, their running average at the rows themselves.

    Args:
        model: a model of `N` items; it is not changed.
        vectors: `[A, D]` rows of the new items, which get the ids `N + 1` to `N + A`; `A` may be 0.

    Returns:
        A model of `N + A` items.

    Raises:
        ValueError: `vectors` has another shape.

    Example:
        >>> model = LACLRec(n_items=3, width=8)
        >>> grown = grown_model(model, np.ones([2, 8]))
        >>> grown.n_items, grown.encoder.item_table.shape
        (5, TensorShape([8, 8]))
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != model.width:
        raise ValueError(f"Argument `vectors` must have the shape [A, {model.width}]. Received: {vectors.shape}.")
    grown = LACLRec.from_config(model.get_config() | {"n_items": model.n_items + len(vectors)})
    for old, new in zip(model.weights, grown.weights, strict=True):
        new.assign(_with_rows(old, vectors) if old is model.encoder.item_table else old)
    if model.compiled:
        grown.compile_from_config(model.get_compile_config())
        _copy_optimizer(model, grown, vectors)
    return grown


def _copy_optimizer(model: LACLRec, grown: LACLRec, vectors: np.ndarray) -> None:
    for old, new in zip(model.optimizer.variables, grown.optimizer.variables, strict=True):
        if tuple(old.shape) == tuple(new.shape):
            new.assign(old)
        else:  # of the item table
            new.assign(_with_rows(old, vectors if "average" in old.path else np.zeros_like(vectors)))


def _with_rows(table: Any, rows: np.ndarray) -> np.ndarray:
    """Put rows between the last item and EOS."""
    old = table.numpy()
    return np.concatenate([old[:-2], rows.astype(old.dtype), old[-2:]])
