"""Events of a user that share a time: how many there are, whether their ids are sorted, and a random order for them.

Time does not order such events, so they keep the order of the file. If the file is sorted by item there, as the rows of
a basket often are, a model learns that order, which says nothing about the user.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np
import polars as pl

from laclrec_tf.errors import LACLRecWarning

INTEGER = "^-?[0-9]{1,18}$"
# A warning needs enough ties to matter, enough of them to judge, and nearly all in one order.
MIN_SHARE, MIN_PAIRS, SORTED = 0.01, 8, 0.95


class SortedTiesWarning(LACLRecWarning):
    """Events of a user that share a time are sorted by their item ids."""


def tie_counts(events: pl.DataFrame) -> dict[str, int]:
    """Count the events that have the same time as the user's event before them.

    Args:
        events: `user_id`, `item_id` (both Enum) and `timestamp`, sorted by user and time.

    Returns:
        "tied_events", their number; "tied_ascending" and "tied_descending", how many of them have a higher or a lower
        item id than the event before: as numbers if both are integers, else as text.

    Example:
        >>> rows = {"user_id": list("aaab"), "item_id": ["9", "10", "8", "7"], "timestamp": [1, 1, 1, 1]}
        >>> ids = {"user_id": pl.Enum(["a", "b"]), "item_id": pl.Enum(["7", "8", "9", "10"])}
        >>> tie_counts(pl.DataFrame(rows, schema_overrides=ids))
        {'tied_events': 2, 'tied_ascending': 1, 'tied_descending': 1}
    """
    item = pl.col("item").cast(pl.String)
    whole = item.str.contains(INTEGER)
    number = pl.when(whole).then(item).cast(pl.Int64).fill_null(0)
    items = pl.DataFrame({"item": cast(pl.Enum, events.schema["item_id"]).categories})
    items = items.select(whole=whole, number=number, rank=item.rank("dense").cast(pl.Int64))
    wholes, numbers, ranks = (items[name].to_numpy() for name in ("whole", "number", "rank"))

    key = pl.col("user_id", "timestamp").to_physical()
    tied = events.select(pl.all_horizontal(key == key.shift()).fill_null(False)).to_series().to_numpy()
    codes = events["item_id"].to_physical().to_numpy()
    after = codes[tied]
    before = codes[np.flatnonzero(tied) - 1]
    steps = np.where(wholes[before] & wholes[after], numbers[after] - numbers[before], ranks[after] - ranks[before])
    return named_counts(tied.sum(), (steps > 0).sum(), (steps < 0).sum())


def tied_steps(items: Iterable[str]) -> tuple[int, int, int]:
    """Return what `tie_counts` counts, for the events of a user at one time.

    Args:
        items: their item ids, in the order of the file.

    Example:
        >>> tied_steps(["9", "10", "8"])
        (2, 1, 1)
    """
    tied = ascending = descending = 0
    for before, after in pairwise(items):
        whole = re.match(INTEGER, before) and re.match(INTEGER, after)
        one, other = (int(before), int(after)) if whole else (before, after)  # type: Any, Any
        tied, ascending, descending = tied + 1, ascending + (one < other), descending + (one > other)
    return tied, ascending, descending


def named_counts(tied: int, ascending: int, descending: int) -> dict[str, int]:
    """Return the counts of `tie_counts` by their names."""
    return {"tied_events": int(tied), "tied_ascending": int(ascending), "tied_descending": int(descending)}


def tied_share(counts: Mapping[str, Any]) -> float:
    """Return the share of events that have the same time as the user's event before them.

    Args:
        counts: the counts of `dataset.json`. The events are those before old ones are dropped.
    """
    return float(counts["tied_events"] / (counts["events"] + counts["beyond_max_length_dropped"]))


def warn_of_sorted_ties(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Warn if events that share a time are sorted by item.

    Args:
        counts: the counts of `dataset.json`.
        settings: the settings of `dataset.json`. Shuffled ties are not warned of.
    """
    ordered = counts["tied_ascending"] + counts["tied_descending"]
    name = max("ascending", "descending", key=lambda name: counts[f"tied_{name}"])
    in_order = counts[f"tied_{name}"] / max(ordered, 1)
    share = tied_share(counts)
    if settings.get("ties") != "shuffle" and share >= MIN_SHARE and ordered >= MIN_PAIRS and in_order > SORTED:
        warnings.warn(
            f"{share:.1%} of the events have the same time as the user's event before, and the item ids of "
            f"{in_order:.1%} of them are {name}: a model learns that order. Give a finer time column, or "
            "--ties shuffle.",
            SortedTiesWarning,
            stacklevel=3,
        )


def shuffled_places(places: np.ndarray, seed: int) -> np.ndarray:
    """Return sort keys that put events into a random order, the same on any machine.

    The keys are SplitMix64 of the places, which never gives two of them the same key.

    Args:
        places: `[n]` numbers of the events' rows over all files.
        seed: seed of the order.

    Returns:
        `[n]` int64.

    Example:
        >>> keys = shuffled_places(np.arange(5), seed=0)
        >>> np.argsort(keys).tolist(), len(set(keys.tolist()))
        ([4, 3, 0, 2, 1], 5)
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    mixed = start + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))).view(np.int64)
