"""How a version finds its best items, in a few words and as one number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version_description import METADATA_FILE


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


def index_recall(version_folder: Path) -> float:
    """Return the share of the 20 items with the highest scores that a version's index finds, as its export measured it.

    Args:
        version_folder: the version's folder.

    Returns:
        1 for a version that scores all items, and for one that says nothing of an index.

    Raises:
        InputError: `assets.extra/metadata.json` is damaged.

    Example:
        >>> index_recall(Path("no/such/version"))
        1.0
    """
    file = version_folder / METADATA_FILE
    if not file.is_file():
        return 1.0
    try:
        record = json.loads(file.read_text(encoding="utf-8")).get("metadata")
        index = record.get("index") if isinstance(record, dict) else None  # metadata may be anything
        return float(index["recall@20"]) if isinstance(index, dict) and index.get("kind") == "partitioned" else 1.0
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged. Export the model again.") from None
