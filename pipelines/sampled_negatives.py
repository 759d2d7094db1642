"""The items that "sampled-99" ranks against, the same for a run's own histories and for noisy ones of its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from laclrec_tf.evaluation import sample_negatives


def sampled_negatives(
    users: Sequence[str],
    met: Sequence[np.ndarray],
    targets: np.ndarray,
    own: Mapping[str, np.ndarray],
    n_items: int,
    seed: int = 0,
) -> np.ndarray:
    """Draw each evaluated user's negatives.

    A user of the run gets the items that an evaluation on the run's own histories draws, whatever noise the evaluated
    history holds. Another user gets items never met, and so does one whose target the run's own history lacks.

    Args:
        users: ids of the evaluated users.
        met: per evaluated user, the integer ids of all items in the evaluated events.
        targets: `[U]` integer ids of the held-out items.
        own: the run's own histories by user id, in the order of its data, those that are evaluated.
        n_items: catalogue size `N`.
        seed: Default: 0.

    Returns:
        `[U, 99]` int32 ids.

    Raises:
        InputError: the catalogue is too small for some user, or `seed` is below 0.

    Example:
        >>> own = {"ann": np.array([1, 2, 3])}
        >>> noisy = sampled_negatives(["ann"], [np.array([1, 50, 2, 3])], np.array([3]), own, n_items=200)
        >>> bool((noisy == sampled_negatives(["ann"], [own["ann"]], np.array([3]), own, n_items=200)).all())
        True
    """
    drawn = dict(zip(own, sample_negatives(list(own.values()), n_items, seed=seed), strict=True))
    known = np.array([user in own and target in own[user] for user, target in zip(users, targets, strict=True)], bool)
    of_others = sample_negatives(
        [
            np.concatenate([items, own.get(user, items)])
            for user, items, is_known in zip(users, met, known, strict=True)
            if not is_known
        ],
        n_items,
        seed=seed,
    )
    negatives = np.empty((len(users), of_others.shape[1]), np.int32)
    negatives[~known] = of_others
    for row in np.flatnonzero(known):
        negatives[row] = drawn[users[int(row)]]
    return negatives
