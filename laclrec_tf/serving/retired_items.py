"""Items that are still read in histories and no longer recommended."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID, ItemVocabulary


def active_items(vocabulary: ItemVocabulary, retired: Collection[str]) -> np.ndarray:
    """Say which items may be recommended.

    Args:
        vocabulary: all items.
        retired: those that may not.

    Returns:
        `[N]` bool by id from 1, False for a retired item.

    Raises:
        InputError: a retired item is not in the vocabulary.

    Example:
        >>> active_items(ItemVocabulary(["tent", "stove"]), ["tent"]).tolist()
        [False, True]
    """
    active = np.ones(vocabulary.n_items, bool)
    for item, item_id in zip(retired, vocabulary.to_ids(retired), strict=True):
        if item_id == PAD_ID:
            raise InputError(f"Argument `retired` must hold items of the vocabulary. Received: {item!r}.")
        active[item_id - 1] = False
    return active
