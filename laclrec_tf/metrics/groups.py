"""Ranking metrics by group: users grouped by history length, targets grouped by popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laclrec_tf.metrics.ranking import ranking_metrics


@dataclass(frozen=True)
class Groups:
    """The group of each row.

    Args:
        labels: `[G]` names of the groups, in order.
        members: `[R]` int, the group of each row, from 0.
    """

    labels: tuple[str, ...]
    members: np.ndarray

    def __repr__(self) -> str:
        return f"Groups({len(self.members):,} rows in {', '.join(self.labels)})"


def length_groups(lengths: Sequence[int] | np.ndarray, n_groups: int = 5) -> Groups:
    """Group histories by length, with about the same number of histories in each group.

    Args:
        lengths: `[U]` number of items, at least one history.
        n_groups: max number of groups; there are fewer where many histories have the same length. Default: 5.

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
        shortest, longest = lengths[members == group].min(), lengths[members == group].max()
        labels.append(str(shortest) if shortest == longest else f"{shortest} to {longest}")
    return Groups(tuple(labels), members)


def popularity_groups(counts: np.ndarray, n_groups: int = 5) -> Groups:
    """Group items by popularity, with about the same number of events in each group.

    Args:
        counts: `[N]` events of each item in the training data, not all 0.
        n_groups: max number of groups of items with events. Default: 5.

    Returns:
        Groups such as "the 10 most popular", "11 to 40" by rank of popularity, and "never in training" if there are
        such items. An item with more events than one group's share can leave the groups after it empty; empty groups
        are left out.

    Example:
        >>> groups = popularity_groups(np.array([1, 6, 3, 0, 2]), n_groups=2)
        >>> groups.labels, groups.members.tolist()
        (('the most popular', '2 to 4', 'never in training'), [1, 0, 1, 2, 1])
    """
    counts = np.asarray(counts, np.int64)
    order = np.argsort(-counts, kind="stable")
    ordered = counts[order]
    n_seen = int(np.sum(ordered > 0))
    before = np.cumsum(ordered) - ordered  # events of more popular items
    share = before[:n_seen] * n_groups // ordered.sum()
    _, ordered_groups = np.unique(share, return_inverse=True)
    ordered_members = np.append(ordered_groups, np.full(len(counts) - n_seen, ordered_groups.max() + 1))
    labels = []
    for group in range(int(ordered_groups.max()) + 1):
        first, last = 1 + np.flatnonzero(ordered_members == group)[[0, -1]]
        name = f"the {last} most popular" if last > 1 else "the most popular"
        labels.append(name if first == 1 else str(first) if first == last else f"{first} to {last}")
    if n_seen < len(counts):
        labels.append("never in training")
    members = np.empty(len(counts), np.int64)
    members[order] = ordered_members
    return Groups(tuple(labels), members)


def metrics_by_group(ranks: np.ndarray, groups: Groups, k: int = 10) -> list[dict[str, float | int | str]]:
    """Compute recall, NDCG and MRR at `k` for each group, with the standard errors of recall and NDCG.

    Args:
        ranks: `[U]` ranks of the targets from 0.
        groups: the groups of the `U` users.
        k: cut-off of the metrics. Default: 10.

    Returns:
        A dict for each group that has users: `group`, `users`, `recall`, `recall_error`, `ndcg`, `ndcg_error`, `mrr`.
        The error is the standard deviation over users divided by the square root of their number; NaN for one user.

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
