"""Ranking metrics from ranks: recall, MRR and NDCG at k, for one held-out target per user.

Ranks start at 0. Ties count against the target: an item with the same score ranks before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

TIE_RULE = "ties count against the target"
KS = (5, 10, 20)  # the usual cut-offs
MISSED = np.iinfo(np.int32).max  # the rank of a target that is never recommended


def target_ranks(scores: tf.Tensor, targets: tf.Tensor, exclude: tf.Tensor | None = None) -> tf.Tensor:
    """Rank each row's target among that row's candidates.

    A NaN score counts as higher than any other, so a broken model never gets better ranks.

    Args:
        scores: `[B, C]` float scores; the column is the item id. Give items that may not be recommended
            (PAD, EOS, MASK) the score `-inf`.
        targets: `[B]` integer ids.
        exclude: candidates to leave out of the ranking: `[B, E]` integer ids padded with 0, or a `[B, C]` bool mask
            (True = left out). A target that is left out itself is never recommended. Default: none.

    Returns:
        `[B]` int32 ranks, 0 = the target is first; `MISSED` for a target that is left out.

    Example:
        >>> scores = tf.constant([[0.1, 0.9, 0.5, 0.5]])
        >>> target_ranks(scores, tf.constant([2])).numpy().tolist()
        [2]
        >>> target_ranks(scores, tf.constant([2]), exclude=tf.constant([[1, 0]])).numpy().tolist()
        [1]
        >>> target_ranks(scores, tf.constant([2]), exclude=tf.constant([[2, 0]])).numpy().tolist() == [MISSED]
        True
    """
    scores = tf.convert_to_tensor(scores)
    targets = tf.cast(targets, tf.int32)
    is_missed = tf.zeros_like(targets, tf.bool)
    columns = tf.shape(scores)[1]
    target_scores = tf.gather(scores, targets, batch_dims=1)[:, tf.newaxis]
    # Count what scores below the target, not what does not: a comparison with NaN is False, but the graph optimiser
    # turns `not (a < b)` into `a >= b`, which is False for NaN, too.
    is_below = scores < target_scores
    is_candidate = tf.not_equal(tf.range(columns)[tf.newaxis, :], targets[:, tf.newaxis])
    if exclude is not None:
        exclude = tf.convert_to_tensor(exclude)
        if exclude.dtype != tf.bool:
            ids = tf.cast(exclude, tf.int32)
            rows = tf.broadcast_to(tf.range(tf.shape(ids)[0])[:, tf.newaxis], tf.shape(ids))
            hits = tf.scatter_nd(
                tf.stack([rows, ids], axis=-1), tf.ones_like(ids), tf.stack([tf.shape(ids)[0], columns])
            )
            exclude = hits > 0
        is_missed = tf.gather(exclude, targets, batch_dims=1)
        is_candidate = tf.logical_and(is_candidate, tf.logical_not(exclude))
    n_below = tf.math.count_nonzero(tf.logical_and(is_candidate, is_below), axis=1, dtype=tf.int32)
    ranks = tf.math.count_nonzero(is_candidate, axis=1, dtype=tf.int32) - n_below
    return tf.where(is_missed, MISSED, ranks)


def served_protocol(exclude_history: bool) -> str:
    """Return the protocol that ranks as a server recommends: "full", or "full-with-history".

    Args:
        exclude_history: whether the server excludes the items of the history.

    Example:
        >>> served_protocol(exclude_history=False)
        'full-with-history'
    """
    return "full" if exclude_history else "full-with-history"


def recall_at_k(ranks: tf.Tensor, k: int) -> tf.Tensor:
    """Return 1 where the target is among the first k, else 0: `[B]` float32 from `[B]` ranks."""
    return tf.cast(tf.convert_to_tensor(ranks) < k, tf.float32)


def mrr_at_k(ranks: tf.Tensor, k: int) -> tf.Tensor:
    """Return `1 / (rank + 1)` where the target is among the first k, else 0: `[B]` float32."""
    return recall_at_k(ranks, k) / (tf.cast(ranks, tf.float32) + 1.0)


def ndcg_at_k(ranks: tf.Tensor, k: int) -> tf.Tensor:
    """Return `1 / log2(rank + 2)` where the target is among the first k, else 0: `[B]` float32."""
    return recall_at_k(ranks, k) * (tf.math.log(2.0) / tf.math.log(tf.cast(ranks, tf.float32) + 2.0))


# A user's gain at k, by the name of the metric that is its mean.
GAINS = {"recall": recall_at_k, "mrr": mrr_at_k, "ndcg": ndcg_at_k}


def ranking_metrics(ranks: Sequence[int] | np.ndarray, ks: Sequence[int] = KS) -> dict[str, float]:
    """Average recall, MRR and NDCG at each k over users.

    Args:
        ranks: `[U]` integer ranks from 0, at least one.
        ks: cut-offs, each at least 1. Default: 5, 10, 20.

    Returns:
        `{"recall@5": ..., "mrr@5": ..., "ndcg@5": ..., ...}`, Python floats in `[0, 1]`.

    Raises:
        ValueError: there are no ranks, a rank is negative or a k is below 1.

    Example:
        >>> ranking_metrics([0, 1, 9], ks=(5,))
        {'recall@5': 0.6666666666666666, 'mrr@5': 0.5, 'ndcg@5': 0.5436432511904858}
    """
    ranks = np.asarray(ranks, dtype=np.int64).reshape(-1)
    if ranks.size == 0 or ranks.min() < 0:
        raise ValueError(
            "Argument `ranks` must hold at least one rank, none below 0. "
            f"Received: {ranks.size} ranks, smallest {ranks.min() if ranks.size else 'none'}."
        )
    if min(ks) < 1:
        raise ValueError(f"Argument `ks` must hold cut-offs of at least 1. Received: ks={tuple(ks)}.")
    metrics = {}
    for k in ks:
        hit = ranks < k
        metrics[f"recall@{k}"] = float(np.mean(hit))
        metrics[f"mrr@{k}"] = float(np.mean(hit / (ranks + 1.0)))
        metrics[f"ndcg@{k}"] = float(np.mean(hit / np.log2(ranks + 2.0)))
    return metrics
