"""Simulated histories together with which of their events were planted as noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

# A history as it was planted: `(item, is noise)`.
PlantedHistory: TypeAlias = list[tuple[str, bool]]
COLUMNS = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "is_noise": pl.Boolean}


def planted_histories(data: PreparedData, truth_file: str | Path) -> list[PlantedHistory]:
    """Read each user's events before the test item, as far as a model of this data reads them.

    Args:
        data: what was made of the simulated events.
        truth_file: the `.truth.csv` that `laclrec-tf simulate` wrote beside them.

    Returns:
        Per user, the last `data.max_length` events whose item the data holds, oldest first.

    Raises:
        InputError: the file cannot be read, lacks a column, or none of its items is in the data.

    Example:
        >>> planted_histories(PreparedData.open("data"), "events.truth.csv")[0]  # doctest: +SKIP
        [('i0007', False), ('i0121', True), ('i0008', False)]
    """
    try:
        truth = pl.read_csv(truth_file, columns=list(COLUMNS), schema_overrides=COLUMNS, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"Cannot read {truth_file} as the truth of simulated events, columns {', '.join(COLUMNS)}: {reason}. "
            "Give the .truth.csv file that `laclrec-tf simulate` wrote."
        ) from None
    by_user = truth.sort("user_id", "timestamp", maintain_order=True).group_by("user_id", maintain_order=True)
    histories = [events[:-1].select("item_id", "is_noise").iter_rows() for _, events in by_user]
    known = [[event for event in history if event[0] in data.vocabulary][-data.max_length :] for history in histories]
    if not any(known):
        raise InputError(f"No item of {truth_file} is in {data.folder}. Give the truth of the events it was made of.")
    return known


def planted_ids(histories: Sequence[PlantedHistory], vocabulary: ItemVocabulary) -> tuple[list[np.ndarray], np.ndarray]:
    """Turn planted histories into what a model reads, and the truth about it.

    Args:
        histories: of `planted_histories`.
        vocabulary: the items.

    Returns:
        Per user `[n]` int32 ids, and `[E]` bool over all events, one history after the other, True = noise.

    Example:
        >>> ids, is_noise = planted_ids([[("tent", False), ("kayak", True)]], ItemVocabulary(["kayak", "tent"]))
        >>> ids[0].tolist(), is_noise.tolist()
        ([2, 1], [False, True])
    """
    ids = [np.array(vocabulary.to_ids(item for item, _ in history), np.int32) for history in histories]
    return ids, np.array([is_noise for history in histories for _, is_noise in history], bool)
