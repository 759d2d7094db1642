"""Plant noise in histories or in a file of events, with a record of which events are noise."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from laclrec_tf.data.events import check_columns_differ, read_event_file
from laclrec_tf.data.splits import packed_histories
from laclrec_tf.data.tables import output_files, write_tables
from laclrec_tf.errors import InputError

NoiseKind: TypeAlias = Literal["popular", "uniform", "replace"]
NoisePlace: TypeAlias = Literal["anywhere", "last"]
NOISE_KINDS: tuple[NoiseKind, ...] = ("popular", "uniform", "replace")
NOISE_PLACES: tuple[NoisePlace, ...] = ("anywhere", "last")
# Draws that collide with their own history are drawn again this often; what then collides still is drawn exactly.
_REDRAWS = 16


def plant_noise(
    histories: Sequence[np.ndarray],
    rate: float,
    *,
    n_items: int,
    popularity: np.ndarray | None = None,
    kind: NoiseKind = "popular",
    where: NoisePlace = "anywhere",
    never: Sequence[np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Plant foreign items in histories.

    A foreign item is an item that the history does not contain. If a history contains the whole catalogue, any item is
    drawn. The kinds "popular" and "uniform" insert events; "replace" replaces events. A history without events stays
    empty.

    With "anywhere", a history of `n` events gets `n * rate / (1 - rate)` further events, rounded up or down at random
    so that this is the mean. They are at random places, which may be in front of the first and behind the last event,
    so the newest event is noise with a probability of about `rate`. With the kind "replace" each event is replaced with
    probability `rate`. With "last", only the newest event is noise, with probability `rate` for each history: an event
    behind the last one, or with "replace" the last event itself.

    Args:
        histories: per user `[n]` integer ids, oldest first. Padding (0) may be anywhere and is left out.
        rate: expected share of noise among the events of the result, from 0 to below 1; with `where="last"`, the
            expected share of histories whose newest event is noise.
        n_items: catalogue size `N`.
        popularity: `[N]` weights with which the kinds "popular" and "replace" draw items; entry `i - 1` is for item
            `i`. Default: None, the number of events of each item in `histories`.
        kind: "popular" inserts items drawn by popularity, "uniform" inserts items that are all equally likely,
            "replace" replaces events by items drawn by popularity. Default: "popular".
        where: "anywhere" or "last". Default: "anywhere".
        never: per user integer ids that are not drawn either, such as the held-out targets. Default: None.
        seed: seed of all draws. Default: 0.

    Returns:
        Per user the noisy history `[m]` int32, and `[m]` bool, True = noise.

    Raises:
        InputError: an argument has another type or shape, or is out of its range.

    Example:
        >>> noisy, is_noise = plant_noise([np.array([5, 6, 7, 8])], 0.5, n_items=20, seed=1)
        >>> len(noisy[0]), noisy[0][~is_noise[0]].tolist()
        (8, [5, 6, 7, 8])
    """
    _check_choices(rate, kind, where, seed)
    _check_whole("n_items", n_items)
    lengths, own = _flat(packed_histories(histories, n_items))
    weights = _weights(popularity, own, n_items) if kind != "uniform" else np.ones(n_items)
    owner = np.repeat(np.arange(lengths.size), lengths)
    taken = owner * (n_items + 1) + own
    if never is not None:
        counts, more = _flat(packed_histories(never, n_items, argument="never"))
        if counts.size != lengths.size:
            raise InputError(
                f"Argument `never` must have an entry for each of the {lengths.size} histories. "
                f"Received: {counts.size}."
            )
        taken = np.append(taken, np.repeat(np.arange(lengths.size), counts) * (n_items + 1) + more)

    generator = np.random.default_rng(seed)
    if kind == "replace":
        is_noise = _replaced(generator, lengths, rate, where)
    else:
        n_noise = _numbers_of_noise(generator, lengths, rate, where)
        is_noise = _places(generator, lengths, n_noise, where)
        lengths = lengths + n_noise
        owner = np.repeat(np.arange(lengths.size), lengths)
    items = np.empty(is_noise.size, np.int64)
    items[~is_noise] = own[~is_noise] if kind == "replace" else own
    items[is_noise] = _foreign_items(generator, owner[is_noise], np.unique(taken), weights)
    ends = np.cumsum(lengths)[:-1]
    return np.split(items.astype(np.int32), ends)[: lengths.size], np.split(is_noise, ends)[: lengths.size]


def _check_choices(rate: float, kind: str, where: str, seed: int) -> None:
    if not isinstance(rate, Real) or not 0 <= rate < 1:
        raise InputError(f"Argument `rate` must be from 0 to below 1. Received: {rate!r}.")
    if not isinstance(kind, str) or kind not in NOISE_KINDS:
        raise InputError(f"Argument `kind` must be 'popular', 'uniform' or 'replace'. Received: {kind!r}.")
    if not isinstance(where, str) or where not in NOISE_PLACES:
        raise InputError(f"Argument `where` must be 'anywhere' or 'last'. Received: {where!r}.")
    _check_whole("seed", seed)


def _check_whole(argument: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"Argument `{argument}` must be a whole number. Received: {value!r}.")
    if value < 0:
        raise InputError(f"Argument `{argument}` must be at least 0. Received: {value}.")


def _flat(histories: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the `[U]` lengths and the `[E]` int64 ids of all histories in order."""
    item_ids = np.concatenate([np.empty(0, np.int64), *histories], dtype=np.int64, casting="unsafe")
    return np.array([len(history) for history in histories], np.int64), item_ids


def _weights(popularity: Any, own: np.ndarray, n_items: int) -> np.ndarray:
    """Return the `[N]` weights of the draws."""
    if popularity is None:
        return np.bincount(own - 1, minlength=n_items).astype(float)
    try:
        weights = np.asarray(popularity, float)
    except (TypeError, ValueError):
        raise InputError(
            f"Argument `popularity` must hold a number of at least 0 for each of the `n_items`={n_items} items. "
            f"Received: {str(popularity)[:60]!r}."
        ) from None
    if weights.shape != (n_items,) or not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise InputError(
            f"Argument `popularity` must hold a number of at least 0 for each of the `n_items`={n_items} items. "
            f"Received: shape {weights.shape}."
        )
    return weights


def _replaced(generator: np.random.Generator, lengths: np.ndarray, rate: float, where: str) -> np.ndarray:
    """Choose the events to replace: `[E]` bool."""
    if where == "anywhere":
        return generator.random(lengths.sum()) < rate
    is_noise = np.zeros(lengths.sum(), bool)
    chosen = (generator.random(lengths.size) < rate) & (lengths > 0)
    is_noise[np.cumsum(lengths)[chosen] - 1] = True
    return is_noise


def _numbers_of_noise(generator: np.random.Generator, lengths: np.ndarray, rate: float, where: str) -> np.ndarray:
    """Draw the number of events to insert in each history: `[U]` int64."""
    uniform = generator.random(lengths.size)
    if where == "last":
        return ((uniform < rate) & (lengths > 0)).astype(np.int64)
    return np.floor(lengths * rate / (1 - rate) + uniform).astype(np.int64)


def _places(generator: np.random.Generator, lengths: np.ndarray, n_noise: np.ndarray, where: str) -> np.ndarray:
    """Choose which events of the longer histories are noise: `[E']` bool."""
    total = lengths + n_noise
    owner = np.repeat(np.arange(total.size), total)
    first = np.repeat(np.cumsum(total) - total, total)
    rank = np.arange(owner.size) - first  # the place of each event in its history
    if where == "last":
        return rank >= np.repeat(lengths, total)
    # The events of a history in random order; the first ones in this order are noise.
    shuffled = np.lexsort((generator.random(owner.size), owner))
    is_noise = np.empty(owner.size, bool)
    is_noise[shuffled] = rank < np.repeat(n_noise, total)
    return is_noise


def _foreign_items(
    generator: np.random.Generator, owner: np.ndarray, taken: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Draw an item for each noise event by weight among the items that its history does not contain.

    Args:
        generator: random numbers.
        owner: `[E]` the history of each noise event.
        taken: sorted keys `history * (N + 1) + item` of the items that are not drawn.
        weights: `[N]` weights of the items.

    Returns:
        `[E]` int64 ids.
    """
    n_items = weights.size
    items = np.zeros(owner.size, np.int64)
    cumulative = np.cumsum(weights)
    open_events = np.arange(owner.size)  # without an item yet
    for _ in range(_REDRAWS if cumulative.size and cumulative[-1] > 0 else 0):
        if not open_events.size:
            return items
        # Above all cumulative weights up to the drawn item's own: an item of weight 0 is never drawn.
        drawn = np.searchsorted(cumulative, generator.random(open_events.size) * cumulative[-1], side="right") + 1
        items[open_events] = np.minimum(drawn, n_items)
        keys = owner[open_events] * (n_items + 1) + items[open_events]
        place = np.minimum(np.searchsorted(taken, keys), taken.size - 1)
        open_events = open_events[taken[place] == keys]
    for event in open_events:
        key = owner[event] * (n_items + 1)
        start, end = np.searchsorted(taken, [key, key + n_items + 1])
        left = weights.copy()
        left[taken[start:end] - key - 1] = 0
        if not left.any():  # all foreign items have weight 0
            left = np.ones(n_items)
            left[taken[start:end] - key - 1] = 0
        if not left.any():  # the history contains the whole catalogue
            left = weights if weights.any() else np.ones(n_items)
        items[event] = 1 + generator.choice(n_items, p=left / left.sum())
    return items


def corrupt_events(
    events: str | Path,
    out: str | Path,
    *,
    rate: float = 0.2,
    kind: NoiseKind = "popular",
    where: NoisePlace = "anywhere",
    seed: int = 0,
    keep_last: int = 1,
    user_column: str = "user_id",
    item_column: str = "item_id",
    time_column: str = "timestamp",
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write a noisy copy of a file of events, and which of its events are noise.

    Noise is planted in the history of each user, see `plant_noise`, without its newest events, which are the held-out
    targets. Items are drawn by their number of events in the file, and never from the user's own events, the held-out
    ones included. An inserted event gets a time between those of its neighbours, so the order of the events of a user
    is that of their times, and of the rows where times are equal.

    Args:
        events: one file of events, see `read_interactions`.
        out: the file to write, `.csv` or `.parquet`, in an existing folder.
        rate: see `plant_noise`; the held-out events do not count. Default: 0.2.
        kind: see `plant_noise`. Default: "popular".
        where: see `plant_noise`; "last" is the newest event before the held-out ones. Default: "anywhere".
        seed: seed of all draws. Default: 0.
        keep_last: number of the newest events of each user that stay as they are, and stay the newest: 1 for the test
            item, 2 also for the validation item, 0 for none. Default: 1.
        user_column: name of the column of user ids. Default: "user_id".
        item_column: name of the column of item ids. Default: "item_id".
        time_column: name of the column of times. Default: "timestamp".
        overwrite: replace existing files. Default: False.

    Returns:
        The file of events, which has the three columns under their names, users in the order of their first event, and
        the events of a user oldest first; and beside it the `.truth.csv` file, the same rows as `user_id`, `item_id`,
        `timestamp` (numbers; dates are microseconds since 1970) and `is_noise`.

    Raises:
        InputError: an argument is out of its range, or a file cannot be read or written.

    Example:
        >>> noisy, truth = corrupt_events("events.csv", "noisy.csv", rate=0.3)  # doctest: +SKIP
    """
    _check_choices(rate, kind, where, seed)
    _check_whole("keep_last", keep_last)
    columns = {"user": user_column, "item": item_column, "time": time_column}
    check_columns_differ(columns)
    files = output_files(out, ".truth.csv", overwrite=overwrite)

    table, _ = read_event_file(Path(events), columns)
    users, items = (table[name].unique(maintain_order=True) for name in ("user_id", "item_id"))
    numbered = table.select(
        pl.col("user_id").cast(pl.Enum(users)).to_physical(),
        pl.col("item_id").cast(pl.Enum(items)).to_physical(),
        pl.col("timestamp").to_physical(),
    ).sort("user_id", "timestamp", maintain_order=True)
    item_ids = numbered["item_id"].to_numpy().astype(np.int64) + 1
    lengths = np.bincount(numbered["user_id"].to_numpy(), minlength=len(users))
    histories = np.split(item_ids, np.cumsum(lengths)[:-1])
    parts = [(history[: max(0, history.size - keep_last)], history[-keep_last:]) for history in histories]
    heads = [head for head, _ in parts]
    kept = [tail if keep_last else tail[:0] for _, tail in parts]
    popularity = np.bincount(item_ids - 1, minlength=len(items))
    noisy, marks = plant_noise(
        heads, rate, n_items=len(items), popularity=popularity, kind=kind, where=where, never=kept, seed=seed
    )

    is_noise = np.concatenate([part for head, tail in zip(marks, kept, strict=True) for part in (head, tail < 0)])
    noisy_ids = np.concatenate([part for pair in zip(noisy, kept, strict=True) for part in pair])
    owner = np.repeat(np.arange(lengths.size), [len(head) + len(tail) for head, tail in zip(noisy, kept, strict=True)])
    times = numbered["timestamp"].to_numpy()
    if kind != "replace":
        times = _times(times, np.repeat(np.arange(lengths.size), lengths), owner, is_noise)
    truth = pl.DataFrame(
        {"user_id": users.gather(owner), "item_id": items.gather(noisy_ids - 1), "timestamp": times}
    ).with_columns(is_noise=is_noise)
    as_read = pl.col("timestamp").cast(table["timestamp"].dtype)
    copy = truth.select(pl.col("user_id").alias(user_column), pl.col("item_id").alias(item_column), as_read)
    write_tables({files[0]: copy.rename({"timestamp": time_column}), files[1]: truth})
    return files[0], files[1]


def _times(times: np.ndarray, owner: np.ndarray, new_owner: np.ndarray, inserted: np.ndarray) -> np.ndarray:
    """Return times of all events, those of inserted ones spread evenly between the times of their neighbours.

    In front of the first event of a user and behind its last one, the neighbour's time is taken.

    Args:
        times: `[E]` int64 or float64 times of the real events.
        owner: `[E]` the user of each real event.
        new_owner: `[E']` the user of each event.
        inserted: `[E']` bool, True = not a real event.

    Returns:
        `[E']` of the type of `times`.
    """
    n_real = np.cumsum(~inserted)
    before = n_real - 1  # the real event at or before each event, which may be another user's
    gap = n_real + new_owner  # differs between the places at which events are inserted
    number = np.cumsum(inserted)
    count = np.bincount(gap, weights=inserted).astype(np.int64)
    number = number - (np.cumsum(count) - count)[gap]  # 1 for the first inserted event of a gap
    after = np.minimum(before + 1, owner.size - 1)
    before = np.where((before >= 0) & (owner[before] == new_owner), before, after)
    after = np.where(owner[after] == new_owner, after, before)
    start, end, parts = times[before], times[after], count[gap] + 1
    if times.dtype == np.int64:
        # Unsigned, because the distance of two int64 may need 64 bits.
        step = (end - start).view(np.uint64) // parts.astype(np.uint64)
        between = start + (step * number.astype(np.uint64)).view(np.int64)
    else:
        between = np.minimum(start + (end - start) * (number / parts), end)
    return np.where(inserted, between, start)
