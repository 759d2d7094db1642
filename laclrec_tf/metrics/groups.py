"""Ranking metrics by group: of users by the length of their history, of targets by their popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laclrec_tf.metrics.ranking import ranking_metrics


@dataclass(frozen=True)
class Groups:
    """Rows put into groups.

    Args:
        labels: `[G]` names, in order.
        members: `[R]` the group of each row, from 0.
    """

    labels: tuple[str, ...]
    members: np.ndarray

    def __repr__(self) -> str:
        return f"Groups({len(self.members):,} rows in {', '.join(self.labels)})"


def length_groups(lengths: Sequence[int] | np.ndarray, n_groups: int = 5) -> Groups:
    """Put histories of like length together, about equally many in each group.

    Args:
        lengths: `[U]` number of items, at least one history.
        n_groups: most groups; fewer where many histories are equally long. Default: 5.

    Returns:
        Groups such as "3", "4 to 6" and "7 to 20", the shortest first.

    Example:
        >>> groups = length_groups([2, 9, 3, 2, 4, 2], n_groups=3)
        >>> groups.labels, groups.members.tolist()
        (('2', '3', '4 to 9'), [0, 2, 1, 0, 2, 0])
    """
    lengths = np.asarray(lengths, np.int64)
    last = np.unique(np.quantile(lengths, np.arange(1, n_groups + 1) / n_groups, method="lower"))
    members = np.searchsorted(last, lengths)
    labels = []
    for group in range(len(last)):
        least, most = lengths[members == group].min(), lengths[members == group].max()
        labels.append(str(least) if least == most else f"{least} to {most}")
    return Groups(tuple(labels), members)


def popularity_groups(counts: np.ndarray, n_groups: int = 5) -> Groups:
    """Put items of like popularity together, so that each group has about the same share of all events.

    Args:
        counts: `[N]` events of each item in the training data, not all 0.
        n_groups: most groups of items with events. Default: 5.

    Returns:
        Groups such as "the 10 most popular", "11 to 40" by rank of popularity, and "never in training" if there are
        such items. An item as large as several shares stands in the first of them.

    Example:
        >>> groups = popularity_groups(np.array([1, 6, 3, 0, 2]), n_groups=2)
        >>> groups.labels, groups.members.tolist()
        (('the most popular', '2 to 4', 'never in training'), [1, 0, 1, 2, 1])
    """
    counts = np.asarray(counts, np.int64)
    order = np.argsort(-counts, kind="stable")
    ordered = counts[order]
    n_met = int(np.sum(ordered > 0))
    before = np.cumsum(ordered) - ordered  # events of more popular items
    share = before[:n_met] * n_groups // ordered.sum()
    _, ordered_groups = np.unique(share, return_inverse=True)
    ordered_members = np.append(ordered_groups, np.full(len(counts) - n_met, ordered_groups.max() + 1))
    labels = []
    for group in range(int(ordered_groups.max()) + 1):
        first, last = 1 + np.flatnonzero(ordered_members == group)[[0, -1]]
        name = f"the {last} most popular" if last > 1 else "the most popular"
        labels.append(name if first == 1 else str(first) if first == last else f"{first} to {last}")
    if n_met < len(counts):
        labels.append("never in training")
    members = np.empty(len(counts), np.int64)
    members[order] = ordered_members
    return Groups(tuple(labels), members)


def metrics_by_group(ranks: np.ndarray, groups: Groups, k: int = 10) -> list[dict[str, float | int | str]]:
    """Return recall, NDCG and MRR at `k` of each group, with the standard error of the first two.

    Args:
        ranks: `[U]` ranks of the targets from 0.
        groups: of the `U` users.
        k: Default: 10.

    Returns:
        One dict a group that has users: `group`, `users`, `recall`, `recall_error`, `ndcg`, `ndcg_error`, `mrr`.
        The error is the standard deviation over users divided by the root of their number; of one user it is NaN.

    Example:
        >>> rows = metrics_by_group(np.array([0, 20, 1]), Groups(("a", "b"), np.array([0, 0, 1])))
        >>> [(row["group"], row["users"], row["recall"]) for row in rows]
        [('a', 2, 0.5), ('b', 1, 1.0)]
    """
    ranks = np.asarray(ranks)
    rows: list[dict[str, float | int | str]] = []
    for number, label in enumerate(groups.labels):
        own = ranks[groups.members == number]
        if not own.size:
            continue
        metrics = ranking_metrics(own, (k,))
        hits = (own < k).astype(float)
        rows.append(
            {
                "group": label,
                "users": int(own.size),
                "recall": metrics[f"recall@{k}"],
                "recall_error": _standard_error(hits),
                "ndcg": metrics[f"ndcg@{k}"],
                "ndcg_error": _standard_error(hits / np.log2(own + 2.0)),
                "mrr": metrics[f"mrr@{k}"],
            }
        )
    return rows


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
