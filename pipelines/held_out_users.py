"""A run's test histories with their held-out items, what the run recommends, and where the held-out items stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import rank_targets, users_at_once
from laclrec_tf.models import LACLRec
from laclrec_tf.run_folder import RunFolder


@dataclass(frozen=True)
class HeldOutUsers:
    """Users of the test split.

    Args:
        user_ids: `[U]`.
        histories: per user `[n]` int32 ids before the held-out item, as far as the model reads them.
        targets: `[U]` int32, the held-out items.
        ranks: `[U]` int32 from 0, over the catalogue without the history.
        lists: `[U, k]` int32, the best items, those of the history left out; 0 is an empty place.
        of: how many users the test split has.
    """

    user_ids: list[str]
    histories: list[np.ndarray]
    targets: np.ndarray
    ranks: np.ndarray
    lists: np.ndarray
    of: int

    def __repr__(self) -> str:
        return f"HeldOutUsers({len(self.user_ids):,} of {self.of:,} users, {self.lists.shape[1]} items for each)"


def held_out_users(run: RunFolder, *, most: int, k: int, seed: int) -> HeldOutUsers:
    """Recommend to the users of the test split, or to as many of them drawn at random.

    Args:
        run: the run; its retired items are not recommended, and users whose held-out item is one are left out.
        most: how many users.
        k: items recommended.
        seed: of the draw.

    Raises:
        InputError: the data cannot be read, or no history has an item held out.
    """
    retired = np.array(run.vocabulary.to_ids(run.retired), np.int32)
    gone = set(retired.tolist())
    model = run.model
    users = [
        (user, pair[0][-model.max_length :], pair[1])
        for user, history in zip(*run.data.histories(), strict=True)
        if (pair := held_out(history, "test")) is not None and pair[1] not in gone
    ]
    if not users:
        raise InputError(f"No history in {run.data.folder} has the three events that a held-out item takes.")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(users))[:most])
    user_ids, histories, targets = (list(part) for part in zip(*(users[row] for row in chosen), strict=True))
    held = np.array(targets, np.int32)
    ranks = rank_targets(model, histories, held, retired=retired)
    return HeldOutUsers(user_ids, histories, held, ranks, best_items(model, histories, k, retired), len(users))


def best_items(model: LACLRec, histories: list[np.ndarray], k: int, retired: np.ndarray) -> np.ndarray:
    """Return each user's best items, those of the history and retired ones left out.

    Args:
        model: the model.
        histories: per user `[n]` int32 ids, oldest first.
        k: how many.
        retired: integer ids that are never recommended.

    Returns:
        `[U, k]` int32, best first, 0 where the catalogue has no more.
    """
    is_out = np.isin(np.arange(model.n_items + 3), retired)
    k_found = min(k, model.n_items)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def best(history: tf.Tensor) -> tf.Tensor:
        scores = tf.where(is_out, -np.inf, model.score(model(history, training=False)))
        rows = tf.broadcast_to(tf.range(tf.shape(history)[0])[:, tf.newaxis], tf.shape(history))
        met = tf.stack([rows, history], axis=-1)
        scores = tf.tensor_scatter_nd_update(scores, met, tf.fill(tf.shape(history), -np.inf))
        found, item_ids = tf.math.top_k(scores, k_found)
        return tf.where(found > -np.inf, item_ids, 0)

    lists = np.zeros((len(histories), k), np.int32)
    order = np.argsort([len(history) for history in histories], kind="stable")
    at_once = users_at_once(model.n_items)
    for start in range(0, len(order), at_once):
        rows = order[start : start + at_once]
        padded = np.zeros((len(rows), max(1, *(len(histories[row]) for row in rows))), np.int32)
        for place, row in enumerate(rows):
            padded[place, : len(histories[row])] = histories[row]
        lists[rows, :k_found] = best(padded).numpy()
    return lists
