"""Weights that are not finite: a model that has one is broken, whatever its metrics say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def nonfinite_weight(variables: Iterable[Any]) -> str | None:
    """Return the path of the first variable that holds NaN or infinity.

    Args:
        variables: Keras or TensorFlow variables.

    Returns:
        Its `path`, or its `name` if it has none; None if all values are finite.

    Example:
        >>> import keras
        >>> nonfinite_weight([keras.Variable([1.0, float("nan")], name="kernel")])
        'kernel'
    """
    for variable in variables:
        values = variable.numpy()
        if np.issubdtype(values.dtype, np.integer) or values.dtype == bool:
            continue
        if not np.isfinite(values.astype(np.float32, copy=False)).all():
            return str(getattr(variable, "path", variable.name))
    return None
