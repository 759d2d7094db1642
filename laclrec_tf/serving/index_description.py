"""How a version finds its best items, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def index_description(index: Mapping[str, Any]) -> str:
    """Describe an index as `metadata.json` records it.

    Args:
        index: `kind`; for partitions also `partitions`, `probes`, `int8`, `recall@20` and `measured_on`.

    Example:
        >>> index_description({"kind": "exact"})
        'exact index'
    """
    if index["kind"] == "exact":
        return "exact index"
    scores = ", scores from int8" if index["int8"] else ""
    return (
        f"partitioned index: {index['probes']} of {index['partitions']} partitions{scores}, "
        f"recall@20 {index['recall@20']:.4f} against exact on {index['measured_on']}"
    )
