"""Histories of item ids: checked, without padding, and divided into a training part and held-out items.

With leave-one-out, the last item is the test target, the item before it the validation target. A history of fewer than
three items is never evaluated then, and all of it is training data. `prepare` can hold out other items, see
`laclrec_tf.data.filters.hold_out`. The protocol "strict" trains on everything before the validation item (as for the
published figures), "refit" on everything before the test item (for deployment).

A strict training sets some users aside: it is not trained on their newest event before the validation item either, so
that something can be fitted to events that the model has not seen. These events are about 1 % of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID

Protocol: TypeAlias = Literal["strict", "refit"]
Split: TypeAlias = Literal["validation", "test"]
Window: TypeAlias = Literal["last", "sliding"]
PROTOCOLS: tuple[Protocol, ...] = ("strict", "refit")
WINDOWS: tuple[Window, ...] = ("last", "sliding")
SPLITS: tuple[Split, ...] = ("validation", "test")
SHORTEST_EVALUATED = 3
# A user who is set aside keeps two events to train on, before the newest event.
FEWEST_BEFORE_SET_ASIDE = 3
MAX_SET_ASIDE, MIN_SET_ASIDE = 3000, 50


def leave_one_out(length: int) -> tuple[int, int]:
    """Return how many items of a history are before its validation item, and before its test item.

    Args:
        length: number of items.

    Example:
        >>> leave_one_out(5), leave_one_out(2)
        ((3, 4), (2, 2))
    """
    return (length, length) if length < SHORTEST_EVALUATED else (length - 2, length - 1)


def training_part(history: np.ndarray, protocol: Protocol = "strict") -> np.ndarray:
    """Return the items to train on, with leave-one-out.

    Args:
        history: `[n]` item ids, oldest first.
        protocol: "strict" holds out the last two items, "refit" the last one. Default: "strict".

    Returns:
        `[n - 2]` or `[n - 1]` ids, a view of `history`; all `[n]` if there are fewer than three items.

    Raises:
        InputError: `protocol` is unknown.

    Example:
        >>> training_part(np.array([5, 6, 7, 8])).tolist(), training_part(np.array([5, 6])).tolist()
        ([5, 6], [5, 6])
    """
    check_protocol(protocol)
    return history[: leave_one_out(len(history))[PROTOCOLS.index(protocol)]]


def held_out(history: np.ndarray, split: Split) -> tuple[np.ndarray, int] | None:
    """Return the input and the target for evaluating a model on a history, with leave-one-out.

    Args:
        history: `[n]` item ids, oldest first.
        split: "validation" makes the second last item the target, "test" the last item.

    Returns:
        The ids before the target (a view of `history`) and the target; None if there are fewer than three items.

    Raises:
        InputError: `split` is unknown.

    Example:
        >>> held_out(np.array([5, 6, 7, 8]), "validation")
        (array([5, 6]), 7)
    """
    check_split(split)
    if len(history) < SHORTEST_EVALUATED:
        return None
    place = leave_one_out(len(history))[SPLITS.index(split)]
    return history[:place], int(history[place])


def check_protocol(protocol: str) -> None:
    """Raise an `InputError` if the protocol is unknown."""
    if protocol not in PROTOCOLS:
        raise InputError(f"Argument `protocol` must be {' or '.join(PROTOCOLS)}. Received: {protocol!r}.")


def check_split(split: str) -> None:
    """Raise an `InputError` if the split is unknown."""
    if split not in SPLITS:
        raise InputError(f"Argument `split` must be {' or '.join(SPLITS)}. Received: {split!r}.")


def repeats(history: Sequence[Any] | np.ndarray, before: Sequence[int] | None = None) -> tuple[int, int, int, int]:
    """Return 0 or 1: has a history a test item, is it in the items before it, and the same of the validation item.

    Args:
        history: `[n]` items, oldest first.
        before: how many items are before the validation and the test item. Default: None, leave-one-out.

    Example:
        >>> repeats([5, 6, 7, 5]), repeats([5, 6, 6, 7]), repeats([5, 5])
        ((1, 1, 1, 0), (1, 0, 1, 1), (0, 0, 0, 0))
        >>> repeats([5, 6, 5, 7], before=(1, 2))
        (1, 1, 1, 0)
    """
    validation, test = leave_one_out(len(history)) if before is None else before
    is_tested, is_validated = 0 < test < len(history), 0 < validation < test
    return (
        int(is_tested),
        int(is_tested and history[test] in history[:test]),
        int(is_validated),
        int(is_validated and history[validation] in history[:validation]),
    )


def repeated_targets(found: Iterable[tuple[int, int, int, int]]) -> dict[str, float]:
    """Return the shares of the test and of the validation items that are in the history before them.

    Args:
        found: results of `repeats`, or sums of them.

    Returns:
        "repeated_targets" and "repeated_validation_targets", from 0 to 1; 0 if there are none.

    Example:
        >>> repeated_targets(map(repeats, [[5, 6, 7, 5], [5, 6, 7, 8], [5, 5]]))
        {'repeated_targets': 0.5, 'repeated_validation_targets': 0.0}
    """
    sums = np.array([(0, 0, 0, 0), *found]).sum(axis=0).tolist()
    return {
        "repeated_targets": sums[1] / max(sums[0], 1),
        "repeated_validation_targets": sums[3] / max(sums[2], 1),
    }


def training_windows(history: np.ndarray, max_length: int, window: Window = "last") -> list[np.ndarray]:
    """Return the parts of a history to train a model on that reads `max_length` items.

    In a part every item but the first is a target. Consecutive windows share an item, the last target of one and the
    first item of the next, so that over all windows every item of the history but the first is a target exactly once.

    Args:
        history: `[n]` item ids, oldest first, without held-out items.
        max_length: max length of a history without its last item, which is a target only.
        window: "last" for the newest window only, "sliding" for all of them; the oldest may be shorter. Default:
            "last".

    Returns:
        Views of `history` of at most `max_length + 1` items, oldest first.

    Example:
        >>> [part.tolist() for part in training_windows(np.arange(1, 7), 2, "sliding")]
        [[1, 2], [2, 3, 4], [4, 5, 6]]
        >>> [part.tolist() for part in training_windows(np.arange(1, 7), 2)]
        [[4, 5, 6]]
    """
    ends = range(max(len(history), 2), 1, -max_length)[: 1 if window == "last" else None]
    return [history[max(end - max_length - 1, 0) : end] for end in reversed(ends)]


def all_windows(
    histories: Sequence[np.ndarray], max_length: int | None, window: Window = "last"
) -> Sequence[np.ndarray]:
    """Return the `training_windows` of all histories, one after the other.

    Args:
        histories: per user `[n]` item ids, oldest first.
        max_length: see `training_windows`; None for the histories as they are.
        window: see `training_windows`. Default: "last".

    Example:
        >>> [part.tolist() for part in all_windows([np.array([5, 6, 7]), np.array([8])], 1, "sliding")]
        [[5, 6], [6, 7], [8]]
    """
    if max_length is None:
        return histories
    return [part for history in histories for part in training_windows(history, max_length, window)]


def packed_histories(histories: Any, n_items: int | None = None, *, argument: str = "histories") -> list[np.ndarray]:
    """Return histories without padding. Refuse ids out of range, and what iterates over other things, as a table does.

    Args:
        histories: what the user gave: per user `[n]` integer ids; padding (0) may be anywhere.
        n_items: catalogue size `N`. Default: None, ids have no upper limit.
        argument: name of the argument in messages. Default: "histories".

    Returns:
        Per user `[m]` ids from 1.

    Raises:
        InputError: `histories` are not arrays of integer ids in the range.

    Example:
        >>> [history.tolist() for history in packed_histories([np.array([0, 5, 6])], n_items=20)]
        [[5, 6]]
    """
    remedy = "Give a list with an array of integer ids for each user, as `PreparedData.histories()[1]` returns it."
    is_list = isinstance(histories, (Sequence, np.ndarray)) and not isinstance(histories, str)
    if not is_list or (isinstance(histories, np.ndarray) and not histories.ndim):
        raise InputError(
            f"Argument `{argument}` must be a list of arrays. Received: a {type(histories).__name__}. {remedy}"
        )
    for number, history in enumerate(histories):
        try:
            values = history if isinstance(history, np.ndarray) else np.asarray(history)
        except ValueError:  # lists of different lengths
            values = np.empty(1, object)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise InputError(
                f"Argument `{argument}` must hold arrays of integer ids. Received: {str(history)[:60]!r} as history "
                f"{number}. {remedy}"
            )
    if not len(histories):
        return []
    # The cast wraps unsigned numbers above 63 bits to negative ones, which are refused.
    item_ids = np.concatenate(histories, dtype=np.int64, casting="unsafe")
    wrong = (item_ids < PAD_ID) | (item_ids > (np.iinfo(np.int32).max if n_items is None else n_items))
    if wrong.any():
        place = int(np.argmax(wrong))
        ends = np.cumsum([len(history) for history in histories])
        number = int(np.searchsorted(ends, place, side="right"))
        received = histories[number][place - int(ends[number])]
        limit = "the catalogue's size" if n_items is None else f"`n_items`={n_items}"
        raise InputError(
            f"Argument `{argument}` must hold item ids from 1 to {limit}, and 0 for padding. Received: {received} in "
            f"history {number}."
        )
    if np.all(item_ids != PAD_ID):
        return list(histories)
    return [values[values != PAD_ID] for values in map(np.asarray, histories)]


def set_aside_share(n_users: int, n_events: int, share: float) -> float:
    """Return the share of users to set aside, so that a share of the events, one of each such user, is held out.

    There are as many users as such events; at least 100 or a tenth of all, whichever is fewer, and at most 3,000 or
    half of all, whichever is fewer. Below 500 users in all there are none.

    Args:
        n_users: number of users in the data.
        n_events: number of events in the data.
        share: the share of the events that is wanted; 0 for no users.

    Example:
        >>> set_aside_share(2000, 20_000, 0.01), set_aside_share(60_000, 10**6, 0.01), set_aside_share(400, 4000, 0.01)
        (0.1, 0.05, 0.0)
        >>> set_aside_share(600, 4000, 0.01), set_aside_share(600, 60_000, 0.01)
        (0.1, 0.5)
    """
    wanted = max(n_events * share, min(2 * MIN_SET_ASIDE, n_users / 10)) if share else 0
    return 0.0 if n_users < 10 * MIN_SET_ASIDE else min(wanted, MAX_SET_ASIDE, n_users / 2) / n_users


def is_set_aside(user: str, n_before: int, share: float) -> bool:
    """Return whether a user is set aside: neither the event before the validation item nor later ones are trained on.

    On these users something can be fitted to events that the model has not seen: the history before the validation
    item ends with an event that was not trained on. The choice depends on the user's id only, so that workers agree.

    Args:
        user: user id.
        n_before: number of events before the validation item. With fewer than three, a user is never set aside.
        share: share of the users, see `set_aside_share`.

    Example:
        >>> sum(is_set_aside(f"user-{n}", 3, share=0.1) for n in range(1000))
        96
    """
    if n_before < FEWEST_BEFORE_SET_ASIDE:
        return False
    digest = hashlib.blake2b(user.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < share * 2**32


@dataclass(frozen=True, eq=False)
class SplitHistories:
    """Users' histories, and how many events of each are before its validation and its test item.

    A user without a validation item has the same number twice. A user without a test item has all events before it.

    Args:
        users: user ids.
        histories: per user `[n]` item ids, oldest first.
        before: `[U, 2]` integers: how many events of each user are trained on (strict), and how many are before the
            test item.

    Example:
        >>> split = SplitHistories.leave_one_out(["ann", "bob"], [np.array([5, 6, 7, 8]), np.array([9])])
        >>> [items.tolist() for items in split.training("strict")]
        [[5, 6], [9]]
        >>> split.pairs("test")
        [(array([5, 6, 7]), 8)]
    """

    users: list[str]
    histories: list[np.ndarray]
    before: np.ndarray

    @classmethod
    def leave_one_out(cls, users: list[str], histories: list[np.ndarray]) -> SplitHistories:
        """Hold out the last two items of each history of three or more items.

        Args:
            users: user ids.
            histories: per user `[n]` item ids, oldest first.
        """
        return cls(users, histories, np.array([leave_one_out(len(history)) for history in histories]).reshape(-1, 2))

    def training(self, protocol: Protocol = "strict", share: float = 0.0) -> list[np.ndarray]:
        """Return the items to train on, per user.

        Args:
            protocol: "strict" holds out the validation item and later ones, "refit" the test item and later ones.
                Default: "strict".
            share: share of the users who are set aside in a strict training, see `set_aside_share`. Default: 0.

        Raises:
            InputError: `protocol` is unknown.
        """
        check_protocol(protocol)
        kept = self.before[:, PROTOCOLS.index(protocol)]
        if protocol == "strict" and share:
            kept = kept - self.is_set_aside(share)
        return [history[:n] for history, n in zip(self.histories, kept, strict=True)]

    def has_item(self, split: Split) -> np.ndarray:
        """Return whether each user has a held-out item and at least one event before it: `[U]` bool.

        Args:
            split: "validation" or "test".

        Raises:
            InputError: `split` is unknown.
        """
        check_split(split)
        n = self.before[:, SPLITS.index(split)]
        ends = self.before[:, 1] if split == "validation" else np.array([len(each) for each in self.histories], int)
        has_item: np.ndarray = (n > 0) & (n < ends)
        return has_item

    def pairs(self, split: Split) -> list[tuple[np.ndarray, int]]:
        """Return the items before the held-out item, and this item, of each user of `has_item`.

        Args:
            split: "validation" or "test".

        Raises:
            InputError: `split` is unknown.
        """
        found = np.flatnonzero(self.has_item(split))
        places = self.before[:, SPLITS.index(split)]
        return [(self.histories[row][: places[row]], int(self.histories[row][places[row]])) for row in found]

    def is_set_aside(self, share: float) -> np.ndarray:
        """Return whether each user is set aside, see the function of this name: `[U]` bool.

        Args:
            share: share of the users.
        """
        drawn = [is_set_aside(user, n, share) for user, n in zip(self.users, self.before[:, 0], strict=True)]
        return np.array(drawn, bool) & self.has_item("validation")

    def of(self, chosen: np.ndarray) -> SplitHistories:
        """Return some of the users.

        Args:
            chosen: their rows, or a mask `[U]`.
        """
        rows = np.arange(len(self.users))[chosen]
        return SplitHistories(
            [self.users[row] for row in rows], [self.histories[row] for row in rows], self.before[rows]
        )
