"""The rows and counts that new items begin with: from given neighbours, from events, or from the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.item_vectors import cooccurrence_weights, neighbour_vectors, read_neighbours
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary


@dataclass(frozen=True)
class NewItemRows:
    """What the new items of a run begin with.

    Args:
        vectors: `[A, D]` float32 rows of the item table.
        popularity: `[A]` int64, how often each item stands in the events.
        sources: how many rows are made of "neighbours", of "events" and of the whole "catalogue".
    """

    vectors: np.ndarray
    popularity: np.ndarray
    sources: dict[str, int]


def new_item_rows(
    table: np.ndarray,
    vocabulary: ItemVocabulary,
    *,
    neighbours: Path | None = None,
    events: Path | None = None,
    columns: dict[str, str] | None = None,
) -> NewItemRows:
    """Make rows for the items behind the old ones.

    Args:
        table: `[N, D]` rows of the old items, item 1 first.
        vocabulary: the old items and the `A` new ones behind them.
        neighbours: a file for `read_neighbours`; an item it gives a known neighbour gets its row from there.
            Default: None.
        events: a file for `read_interactions`, for the items without given neighbours and for the counts of all.
            Default: None.
        columns: the names of the events' columns, as arguments of `read_interactions`. Default: its own.

    Returns:
        The rows; an item of which nothing is known gets the mean of all old rows.

    Raises:
        InputError: a file cannot be read, or names no item of `vocabulary`.
    """
    n_items, n_new = len(table), vocabulary.n_items - len(table)
    counts = np.zeros(n_new, np.int64)
    weights = {
        "neighbours": scipy.sparse.csr_array((n_new, n_items)),
        "events": scipy.sparse.csr_array((n_new, n_items)),
    }
    if neighbours is not None:
        weights["neighbours"] = _given_weights(neighbours, vocabulary, n_items)
    if events is not None:
        histories = _histories(events, vocabulary, columns or {})
        weights["events"] = cooccurrence_weights(histories, n_items, n_new)
        counts = np.bincount(np.concatenate(histories), minlength=vocabulary.n_items + 1)[n_items + 1 :]
    given, is_given = neighbour_vectors(weights["neighbours"], table)
    met, is_met = neighbour_vectors(weights["events"], table)  # the mean of all rows where there is nothing
    n_given, n_met = int(is_given.sum()), int((is_met & ~is_given).sum())
    return NewItemRows(
        vectors=np.where(is_given[:, np.newaxis], given, met),
        popularity=counts,
        sources={"neighbours": n_given, "events": n_met, "catalogue": n_new - n_given - n_met},
    )


def _given_weights(file: Path, vocabulary: ItemVocabulary, n_items: int) -> scipy.sparse.csr_array:
    """Return `[A, N]` weights of old items for new ones; the rows of other items, and new neighbours, do not count."""
    pairs = read_neighbours(file)
    items, others = (np.array(vocabulary.to_ids(pairs[name])) for name in ("item", "neighbour"))
    if not items.any():
        raise InputError(f"{file}: its items are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    if not others.any():
        raise InputError(f"{file}: its neighbours are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    used = (items > n_items) & (others > 0) & (others <= n_items)
    places = (items[used] - n_items - 1, others[used] - 1)
    shape = (vocabulary.n_items - n_items, n_items)
    return scipy.sparse.csr_array((pairs["weight"].to_numpy()[used], places), shape=shape)  # sums what comes twice


def _histories(file: Path, vocabulary: ItemVocabulary, columns: dict[str, Any]) -> list[np.ndarray]:
    """Return per user the ids of known items, oldest first; the same event twice counts once, as for `prepare`."""
    items = pl.DataFrame({"item_id": vocabulary.items}).with_row_index("id", offset=1)
    events = read_interactions([file], **columns).unique(maintain_order=True, keep="first")
    events = events.join(items, on="item_id", how="inner", maintain_order="left")
    if events.is_empty():
        raise InputError(f"{file}: its items are neither in the run nor in the new vocabulary. {_SAME_IDS}")
    users = events.sort("user_id", "timestamp", maintain_order=True).group_by("user_id", maintain_order=True)
    return [row.to_numpy() for row in users.agg(pl.col("id").cast(pl.Int32)).get_column("id")]


_SAME_IDS = "Write ids as in the vocabularies."
