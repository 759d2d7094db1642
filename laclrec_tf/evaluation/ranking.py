"""Rank held-out targets under one of three protocols.

"full" ranks against the whole catalogue without the user's history, as a server recommends that excludes it: a target
in the history is missed. "full-with-history" ranks against the whole catalogue, as a server recommends that keeps the
history. "sampled-99" ranks against 99 items that the user has not seen, sampled with a seed that is the same for every
model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.layers.edit_mixture import N_MIXED
from laclrec_tf.metrics.ranking import target_ranks
from laclrec_tf.ops.masking import pack_histories, pad_histories, trim_padding

PROTOCOLS = ("full", "full-with-history", "sampled-99")
N_NEGATIVES = 99
MAX_SCORES = 2**27  # at a time


def rank_targets(
    model: Any,
    histories: Sequence[np.ndarray],
    targets: np.ndarray,
    *,
    protocol: str = "full",
    negatives: np.ndarray | None = None,
    retired: Sequence[int] | np.ndarray = (),
    clean: bool = False,
    edits: str = "none",
    batch_size: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Rank each user's target among the other items of the protocol.

    Args:
        model: model with `n_items` and `max_length` that returns user vectors when called with `[B, L]` histories, and
            catalogue scores `[B, N + 3]` from `score(user_vectors)`, with `edits` from `scores_of(histories, edits)`.
        histories: per user `[n]` integer ids, oldest first. The model reads the last `max_length`; "full" excludes all.
        targets: `[U]` integer ids.
        protocol: "full", "full-with-history" or "sampled-99". Default: "full".
        negatives: for "sampled-99", `[U, 99]` integer ids of items that each user has not seen. Default: None, sampled
            with the seed 0 from all items but history and target.
        retired: integer ids of items that are never recommended: they rank last, whatever their scores. Default: none.
        clean: whether the model's augmenter edits each history before ranking; items of the raw history stay
            excluded. Default: False.
        edits: "none", "uniform" or "learned": whether predictions are mixed over the edits of each history, see
            `laclrec_tf.models.LACLRec.scores_of`. Default: "none".
        batch_size: users at a time. Default: `users_at_once`, 512 up to about 260,000 items; fewer with `edits`.
        on_batch: function called after each batch with the number of its users. Default: None.

    Returns:
        `[U]` int32 ranks from 0, in the order of `histories`. Ties count against the target. With "full", a target that
        is in the history has the rank `laclrec_tf.metrics.ranking.MISSED`.

    Raises:
        InputError: the protocol is unknown or does not fit the catalogue.

    Example:
        >>> from laclrec_tf.models.laclrec import LACLRec
        >>> model = LACLRec(n_items=20, width=8)
        >>> rank_targets(model, [np.array([5, 6])], np.array([7])).shape
        (1,)
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"Argument `protocol` must be one of {', '.join(PROTOCOLS)}. Received: {protocol!r}.")
    batch_size = batch_size or users_at_once(model.n_items * (1 if edits == "none" else N_MIXED))
    if protocol == "sampled-99" and negatives is None:
        seen = [np.append(history, target) for history, target in zip(histories, targets, strict=True)]
        negatives = sample_negatives(seen, model.n_items)
    ranks = np.empty(len(histories), np.int32)
    rank_batch = _ranker(model, protocol, clean, edits, np.asarray(retired, np.int32))
    # Histories of similar length share a batch, so that little padding is computed.
    order = np.argsort([len(history) for history in histories], kind="stable")
    for start in range(0, len(order), batch_size):
        users = order[start : start + batch_size]
        history = pad_histories([histories[user] for user in users])
        candidates = history if negatives is None else negatives[users]
        ranks[users] = rank_batch(history, np.asarray(targets)[users].astype(np.int32), candidates).numpy()
        if on_batch is not None:
            on_batch(len(users))
    return ranks


def _ranker(model: Any, protocol: str, clean: bool, edits: str, retired: np.ndarray) -> Callable[..., tf.Tensor]:
    ids = tf.TensorSpec([None, None], tf.int32)
    is_retired = np.isin(np.arange(model.n_items + 3), retired)

    @tf.function(input_signature=[ids, tf.TensorSpec([None], tf.int32), ids], autograph=False)
    def rank_batch(history: tf.Tensor, target: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        queries = pack_histories(history, model.max_length)
        if clean:  # an edited history may be longer than the model reads
            queries = pack_histories(trim_padding(model.edit(queries).edited), model.max_length)
        scores = model.score(model(queries, training=False)) if edits == "none" else model.scores_of(queries, edits)
        if retired.size:
            scores = tf.where(is_retired, -np.inf, scores)
        if protocol == "full":
            return target_ranks(scores, target, exclude=history)
        if protocol == "full-with-history":
            return target_ranks(scores, target)
        columns = tf.concat([target[:, tf.newaxis], candidates], axis=1)  # the target is column 0
        return target_ranks(tf.gather(scores, columns, batch_dims=1), tf.zeros_like(target))

    return rank_batch


def users_at_once(n_items: int, max_users: int = 512) -> int:
    """Return how many users to rank at a time, so that their scores stay below half a gigabyte.

    Args:
        n_items: catalogue size `N`.
        max_users: max number of users. Default: 512.

    Example:
        >>> users_at_once(12_101), users_at_once(10_000_000)
        (512, 13)
    """
    return max(1, min(max_users, MAX_SCORES // n_items))


def sample_negatives(
    seen: Sequence[np.ndarray], n_items: int, n_negatives: int = N_NEGATIVES, seed: int = 0
) -> np.ndarray:
    """Sample items that each user has not seen, uniformly and without repetition.

    Args:
        seen: per user, the integer ids of all items in the user's events, including held-out ones.
        n_items: catalogue size `N`.
        n_negatives: number of items for each user. Default: 99.
        seed: seed of the samples. Default: 0.

    Returns:
        `[U, n_negatives]` int32 ids.

    Raises:
        InputError: the catalogue is too small for some user, or `seed` is below 0.

    Example:
        >>> sorted(sample_negatives([np.array([2, 4])], n_items=5, n_negatives=3)[0].tolist())
        [1, 3, 5]
    """
    if seed < 0:
        raise InputError(f"Argument `seed` must be 0 or above. Received: seed={seed}.")
    generator = np.random.default_rng(seed)
    negatives = np.empty((len(seen), n_negatives), np.int32)
    for user, items in enumerate(seen):
        items = np.unique(items)
        if n_items - items.size < n_negatives:
            raise InputError(
                f"The protocol needs {n_negatives} items that a user has not seen, but the catalogue holds {n_items} "
                f"items and a user has seen {items.size} of them. Use the protocol 'full'."
            )
        drawn = generator.choice(n_items, n_negatives + items.size, replace=False) + 1
        negatives[user] = drawn[~np.isin(drawn, items)][:n_negatives]
    return negatives
