"""A mean over seeds, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_and_spread(values: Sequence[float] | np.ndarray, form: str = ".4f") -> str:
    """Write the mean over seeds and its standard deviation; NaN is a seed without a value.

    Args:
        values: one a seed.
        form: the mean's format; the deviation's is the same without a sign. Default: ".4f".

    Example:
        >>> mean_and_spread([0.1, 0.3, float("nan")])
        '0.2000 ± 0.1414 (2 of 3)'
    """
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "–"
    text = f"{np.mean(known):{form}}"
    if len(known) > 1:
        text += f" ± {np.std(known, ddof=1):{form.removeprefix('+')}}"
    return text + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")
