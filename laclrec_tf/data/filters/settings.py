"""The filters of `prepare`: their settings, and what each of them dropped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from laclrec_tf.data.splits import WINDOWS, Window
from laclrec_tf.errors import InputError, LACLRecWarning

MIN_EVENTS, SESSION_GAP = 5, 1800.0
# The first of these that holds the whole histories of most users is the default of `max_length`.
MAX_LENGTHS, MOST = (50, 100, 200), 0.75
HOLD_OUT = ("last", "time", "session")
# A filter that drops a larger share of the events is worth a warning. The default window does not: it is sliding then.
MUCH = 0.2


@dataclass(frozen=True, kw_only=True)
class Filters:
    """The checked settings of `prepare` that choose events, and whether they are recommended again.

    Args:
        min_user_events: min number of events of a user; 0 or 1 keeps all.
        min_item_events: min number of events of an item; 0 or 1 keeps all.
        max_length: max number of events of a user, at least 3; None until the data say, see `for_users`.
        duplicates: "drop" or "keep".
        window: "last", or "sliding" to keep the events of a user beyond `max_length` too; None until the data say, see
            `for_users`.
        ties: "keep" or "shuffle".
        seed: seed of shuffled ties.
        exclude_history: whether the items of a history are not to be recommended; None: as the data say.
        hold_out: "last", "time" or "session", see `laclrec_tf.data.filters.hold_out`.
        validation_from: for "time", the time of the first validation item; None: chosen from the data.
        test_from: for "time", the time of the first test item; None: chosen from the data.
        session_gap: for "session", seconds without an event after which a new session begins.

    Example:
        >>> Filters.of(min_interactions=2, max_length=50).settings()
        {'min_interactions': 2, 'max_length': 50, 'duplicates': 'drop'}
        >>> Filters.of(min_user_events=2, max_length=50).settings()
        {'min_user_events': 2, 'min_item_events': 5, 'max_length': 50, 'duplicates': 'drop'}
    """

    min_user_events: int
    min_item_events: int
    max_length: int | None
    duplicates: str = "drop"
    window: Window | None = None
    ties: str = "keep"
    seed: int = 0
    exclude_history: bool | None = None
    hold_out: str = "last"
    validation_from: str | None = None
    test_from: str | None = None
    session_gap: float = SESSION_GAP

    @classmethod
    def of(
        cls,
        *,
        min_interactions: int | None = None,
        min_user_events: int | None = None,
        min_item_events: int | None = None,
        max_length: int | None = None,
        duplicates: str = "drop",
        window: Window | None = None,
        ties: str = "keep",
        seed: int = 0,
        exclude_history: bool | None = None,
        hold_out: str = "last",
        validation_from: str | None = None,
        test_from: str | None = None,
        session_gap: float | None = None,
    ) -> Filters:
        """Check the arguments of `prepare`, and set both limits from one.

        Raises:
            InputError: an argument is out of its range, changes nothing, or does not go with another one.
        """
        limits = {
            "min_interactions": min_interactions,
            "min_user_events": min_user_events,
            "min_item_events": min_item_events,
        }
        given = {name: limit for name, limit in limits.items() if limit is not None}
        if min_interactions is not None and len(given) > 1:
            raise InputError(
                "Argument `min_interactions` sets the limits of users and of items. Received: "
                f"{', '.join(f'{name}={limit}' for name, limit in given.items())}. "
                "Give either --min-interactions, or --min-user-events and --min-item-events."
            )
        for name, limit in given.items():
            if limit < 0:
                raise InputError(f"Argument `{name}` must be at least 0. Received: {limit}.")
        if max_length is not None and max_length < 3:
            raise InputError(
                "Argument `max_length` must be at least 3, to hold out two items and train on one. "
                f"Received: {max_length}."
            )
        if duplicates not in ("drop", "keep"):
            raise InputError(f"Argument `duplicates` must be 'drop' or 'keep'. Received: {duplicates!r}.")
        if window not in (None, *WINDOWS):
            raise InputError(f"Argument `window` must be 'last' or 'sliding'. Received: {window!r}.")
        if ties not in ("keep", "shuffle"):
            raise InputError(f"Argument `ties` must be 'keep' or 'shuffle'. Received: {ties!r}.")
        if seed < 0:
            raise InputError(f"Argument `seed` must be at least 0. Received: {seed}.")
        _check_hold_out(hold_out, validation_from, test_from, session_gap)
        both = given.get("min_interactions", MIN_EVENTS)
        return cls(
            min_user_events=given.get("min_user_events", both),
            min_item_events=given.get("min_item_events", both),
            max_length=max_length,
            duplicates=duplicates,
            window=window,
            ties=ties,
            seed=seed,
            exclude_history=exclude_history,
            hold_out=hold_out,
            validation_from=None if validation_from is None else str(validation_from),
            test_from=None if test_from is None else str(test_from),
            session_gap=SESSION_GAP if session_gap is None else float(session_gap),
        )

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of which `max_length` is one."""
        return MAX_LENGTHS if self.max_length is None else (self.max_length,)

    def for_users(self, shorter: Sequence[float], newest: Sequence[float]) -> Filters:
        """Return the settings with the defaults of `max_length` and `window` for the data, where none was given.

        Args:
            shorter: shares of the users who have at most as many events as each of `lengths`.
            newest: shares of the events that are among their user's last ones, as many as each of `lengths`.

        Returns:
            `max_length` is the first of 50, 100 and 200 that is enough for three quarters of the users, else 200.
            `window` is "sliding" where more than a fifth of the events is older than a user's last `max_length`.

        Example:
            >>> filters = Filters.of().for_users(shorter=[0.5, 0.76, 0.9], newest=[0.6, 0.7, 0.9])
            >>> filters.max_length, filters.window
            (100, 'sliding')
        """
        enough = (place for place, share in enumerate(shorter) if share >= MOST)
        place = next(enough, len(self.lengths) - 1)
        window = self.window or ("sliding" if newest[place] < 1 - MUCH else "last")
        return replace(self, max_length=self.lengths[place], window=window)

    @property
    def max_kept(self) -> int | None:
        """Max number of events of a user that are kept, the last ones; None for all."""
        return None if self.window == "sliding" else self.max_length

    def settings(self) -> dict[str, Any]:
        """Return the settings as `dataset.json` records and hashes them.

        What earlier versions did is recorded as they recorded it, so that the hash of such data stays: two equal
        limits as `min_interactions`, and neither the window "last" nor ties that keep their order. What follows from
        the data is not recorded either.
        """
        limits = {"min_user_events": self.min_user_events, "min_item_events": self.min_item_events}
        if self.min_user_events == self.min_item_events:
            limits = {"min_interactions": self.min_user_events}
        window = {"window": self.window} if self.window == "sliding" else {}
        shuffled = {"ties": self.ties, "seed": self.seed} if self.ties == "shuffle" else {}
        told = {} if self.exclude_history is None else {"exclude_history": self.exclude_history}
        held_out: dict[str, Any] = {} if self.hold_out == "last" else {"hold_out": self.hold_out}
        if self.test_from is not None:
            held_out |= {"validation_from": self.validation_from, "test_from": self.test_from}
        if self.hold_out == "session":
            held_out |= {"session_gap": self.session_gap}
        usual = {"max_length": self.max_length, "duplicates": self.duplicates}
        return limits | usual | window | shuffled | told | held_out


def _check_hold_out(
    hold_out: str, validation_from: str | None, test_from: str | None, session_gap: float | None
) -> None:
    if hold_out not in HOLD_OUT:
        raise InputError(f"Argument `hold_out` must be 'last', 'time' or 'session'. Received: {hold_out!r}.")
    times = {"validation_from": validation_from, "test_from": test_from}
    given = {name: value for name, value in times.items() if value is not None}
    if len(given) == 1 or (given and hold_out != "time"):
        raise InputError(
            "Arguments `validation_from` and `test_from` go together, and with hold_out='time'. Received: "
            f"{', '.join(f'{name}={value!r}' for name, value in given.items())}, hold_out={hold_out!r}. "
            "Give --hold-out time --validation-from TIME --test-from TIME."
        )
    if session_gap is None:
        return
    if hold_out != "session":
        raise InputError(
            f"Argument `session_gap` needs hold_out='session'. Received: session_gap={session_gap:g}, "
            f"hold_out={hold_out!r}. Give --hold-out session."
        )
    if not 0 <= session_gap < float("inf"):
        raise InputError(f"Argument `session_gap` must be at least 0. Received: {session_gap:g}.")


class DroppedEventsWarning(LACLRecWarning):
    """A filter of `prepare` drops more than a fifth of the events."""


@dataclass(frozen=True)
class Dropped:
    """What one filter dropped.

    Args:
        what: description of the events dropped.
        option: the option of `prepare`, with its value.
        remedy: how to keep more events.
        events: number of events dropped.
        users: number of users dropped; None for a filter that drops none.
        items: number of items dropped; None for a filter that drops none.
        is_left_out: whether the events were left out as they were read, so that the users and items read are those of
            the other events. Default: False.
    """

    what: str
    option: str
    remedy: str
    events: int
    users: int | None = None
    items: int | None = None
    is_left_out: bool = False


def dropped_by_filter(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Dropped]:
    """Return what each filter dropped, in the order of the filters.

    Args:
        counts: the counts of `dataset.json`.
        settings: the settings of `dataset.json`, see `Filters.settings`.
    """
    least = {}
    for of in ("item", "user"):
        name = "min_interactions" if "min_interactions" in settings else f"min_{of}_events"
        least[of] = settings[name], f"--{name.replace('_', '-')} {settings[name]}"
    beyond = counts["items_beyond_max_length_dropped"]
    length = settings["max_length"]
    left_out = {
        "missing_ids_dropped": ("no user or no item", "--drop-missing", "fill in the ids"),
        "below_min_rating_dropped": (
            "lower ratings",
            f"--min-rating {settings.get('min_rating', 0):g}",
            "lower --min-rating",
        ),
    }
    dropped = [
        *(Dropped(*texts, counts[name], is_left_out=True) for name, texts in left_out.items() if name in counts),
        Dropped(
            "same user, item and time",
            f"--duplicates {settings['duplicates']}",
            "give --duplicates keep",
            counts["duplicates_dropped"],
        ),
        Dropped(
            f"items with fewer than {least['item'][0]} events",
            least["item"][1],
            "lower --min-item-events",
            counts["below_min_item_events_dropped"],
            items=counts["items_read"] - counts["items"] - beyond,
        ),
        Dropped(
            f"users with fewer than {least['user'][0]} events",
            least["user"][1],
            "lower --min-user-events",
            counts["below_min_user_events_dropped"],
            users=counts["users_read"] - counts["users"],
        ),
    ]
    if settings.get("window") == "sliding":
        return dropped
    older = Dropped(
        f"older than a user's last {length}" + (" to train on" if "hold_out" in settings else ""),
        f"--max-length {length}",
        "raise --max-length or give --window sliding",
        counts["beyond_max_length_dropped"],
        items=beyond,
    )
    return [*dropped, older]


def warn_of_dropped(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Warn of each filter that dropped more than a fifth of the events.

    Args:
        counts: see `dropped_by_filter`.
        settings: see `dropped_by_filter`.
    """
    for each in dropped_by_filter(counts, settings):
        share = each.events / counts["rows_read"]
        if share > MUCH:
            warnings.warn(
                f"{each.option} drops {each.events:,} of {counts['rows_read']:,} events ({share:.1%}): {each.what}. "
                f"To keep more, {each.remedy}.",
                DroppedEventsWarning,
                stacklevel=3,
            )
