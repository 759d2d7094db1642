"""Simulated events: random walks along planted transitions, with planted noise and a record of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from laclrec_tf.data.event_files import read_columns, row_place
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.tables import output_files, write_tables
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

# A planted history, as `(item, is noise)`.
PlantedHistory: TypeAlias = list[tuple[str, bool]]
# How the items of simulated noise are drawn.
SimulatedNoise: TypeAlias = Literal["uniform", "popular"]
SIMULATED_NOISE: tuple[SimulatedNoise, ...] = ("uniform", "popular")
# Items of a category are followed by items of the next category; after the last category comes the first.
CATEGORIES = (
    "tent",
    "sleeping-bag",
    "stove",
    "cookware",
    "lantern",
    "backpack",
    "boots",
    "rain-jacket",
    "compass",
    "climbing-rope",
    "kayak",
    "fishing-rod",
)
SUCCESSOR_PROBABILITIES = (0.5, 0.25, 0.15, 0.1)
SHORTEST_HISTORY = 5
_FIRST_SECOND = 1_704_067_200  # 2024-01-01
_SECONDS_A_DAY = 86_400
# The columns of the truth that are read, and what their values must be.
_TRUTH_COLUMNS = {"user_id": "text", "item_id": "text", "timestamp": "a number", "is_noise": "true or false"}


@dataclass(frozen=True)
class Simulation:
    """Simulated events with the planted noise and transitions.

    Args:
        events: `user_id` and `item_id` String, `timestamp` Int64 (seconds), ordered by time.
        truth: the same rows with `category` String and `is_noise` Boolean.
        transitions: `item_id` and `next_item_id` String, `probability` Float64; the probabilities of an item sum to 1.
    """

    events: pl.DataFrame
    truth: pl.DataFrame
    transitions: pl.DataFrame

    def __repr__(self) -> str:
        users, items = self.events["user_id"].n_unique(), self.events["item_id"].n_unique()
        noise = self.truth["is_noise"].sum()
        return f"Simulation({self.events.height:,} events of {users:,} users with {items:,} items, {noise:,} are noise)"


def simulate(
    n_users: int = 2000,
    n_items: int = 300,
    noise: float = 0.15,
    seed: int = 0,
    mean_length: float = 12,
    *,
    noise_anywhere: bool = False,
    noise_kind: SimulatedNoise = "uniform",
) -> Simulation:
    """Simulate users of a shop as random walks over its items.

    The items belong to twelve categories in a ring, such as tent, sleeping-bag, stove. Each item has up to four
    successors in the next category, with probabilities 0.5, 0.25, 0.15 and 0.1. A user starts at a random item and
    follows successors. With probability `noise` an event is a random item of any category but the next one, and the
    walk continues after it from the item before. The last two events of a user are never noise, so that leave-one-out
    measures the pattern.

    But then the newest event that a model reads before it predicts the test item is never noise either, and that is
    where noise costs most. With `noise_anywhere`, only the last event of a user, the test item, is always real. All
    events before it may be noise, also the newest one before the test item. That one is the validation item, so with a
    probability of `noise` it cannot be predicted, and validation metrics are lower than test metrics.

    Args:
        n_users: number of users. Default: 2000.
        n_items: number of items, at least 12, one for each category. Default: 300.
        noise: probability of noise, from 0 to below 1. Default: 0.15.
        seed: seed of everything; the same seed gives the same events. Default: 0.
        mean_length: mean number of events of a user, at least 5, the min number of events. Default: 12.
        noise_anywhere: allow noise in all events of a user but the last one. Default: False, in all but the last two.
        noise_kind: "uniform" draws all items with equal probability, "popular" in proportion to their numbers of real
            events. Default: "uniform".

    Returns:
        Events, truth and transitions.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> simulation = simulate(n_users=3, seed=1)
        >>> simulation.events.columns
        ['user_id', 'item_id', 'timestamp']
    """
    _check_arguments(n_users, n_items, noise, seed, mean_length, noise_kind)
    generator = np.random.default_rng(seed)
    successors, probabilities = _plant_transitions(generator, n_items)
    lengths = SHORTEST_HISTORY + generator.poisson(mean_length - SHORTEST_HISTORY, n_users)
    real_at_end = 1 if noise_anywhere else 2
    items, is_noise, due = _walk(generator, successors, probabilities, lengths, noise, real_at_end)
    if noise_kind == "popular":
        real = ~is_noise & (np.arange(items.shape[1]) < lengths[:, np.newaxis])
        popularity = np.bincount(items[real], minlength=n_items)
        items[is_noise] = _popular_noise(generator, popularity, due[is_noise])
    starts = _FIRST_SECOND + generator.integers(0, 180 * _SECONDS_A_DAY, (n_users, 1))
    gaps = 1 + generator.exponential(_SECONDS_A_DAY, items.shape).astype(np.int64)
    times = starts + np.cumsum(gaps, axis=1)

    real = np.arange(items.shape[1]) < lengths[:, np.newaxis]  # True where the user has an event
    names = _item_names(n_items)
    categories = pl.Series(CATEGORIES)
    users = pl.int_range(1, n_users + 1, eager=True).cast(pl.String).str.zfill(len(str(n_users)))
    truth = pl.DataFrame(
        {
            "user_id": ("user-" + users).gather(np.nonzero(real)[0]),
            "item_id": names.gather(items[real]),
            "timestamp": times[real],
            "category": categories.gather(items[real] % len(CATEGORIES)),
            "is_noise": is_noise[real],
        }
    ).sort("timestamp", maintain_order=True)
    rank = np.tile(np.arange(successors.shape[1]), n_items)
    transitions = pl.DataFrame(
        {
            "item_id": names.gather(np.repeat(np.arange(n_items), successors.shape[1])),
            "next_item_id": names.gather(np.maximum(successors.ravel(), 0)),
            "probability": probabilities.ravel(),
            "rank": rank,
        }
    )
    transitions = transitions.filter(pl.col("probability") > 0).sort("item_id", "rank").drop("rank")
    return Simulation(truth.select("user_id", "item_id", "timestamp"), truth, transitions)


def _check_arguments(n_users: int, n_items: int, noise: float, seed: int, mean_length: float, noise_kind: str) -> None:
    if n_users < 1:
        raise InputError(f"Argument `n_users` must be at least 1. Received: {n_users}.")
    if n_items < len(CATEGORIES):
        raise InputError(
            f"Argument `n_items` must be at least {len(CATEGORIES)}, one for each category. Received: {n_items}."
        )
    if not 0 <= noise < 1:
        raise InputError(f"Argument `noise` must be from 0 to below 1. Received: {noise}.")
    if seed < 0:
        raise InputError(f"Argument `seed` must be at least 0. Received: {seed}.")
    if not SHORTEST_HISTORY <= mean_length < 1000:
        raise InputError(
            f"Argument `mean_length` must be from {SHORTEST_HISTORY} to below 1000. Received: {mean_length}."
        )
    if noise_kind not in SIMULATED_NOISE:
        raise InputError(f"Argument `noise_kind` must be 'uniform' or 'popular'. Received: {noise_kind!r}.")


def _plant_transitions(generator: np.random.Generator, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `[N, S]` successors, -1 where a category has fewer than `S` items, and their `[N, S]` probabilities."""
    successors = np.full((n_items, len(SUCCESSOR_PROBABILITIES)), -1)
    for category in range(len(CATEGORIES)):
        members = np.arange(category, n_items, len(CATEGORIES))
        next_category = (category + 1) % len(CATEGORIES)
        following = generator.permutation(np.arange(next_category, n_items, len(CATEGORIES)))
        for rank in range(min(len(SUCCESSOR_PROBABILITIES), following.size)):
            # Assigned in turn, so that all items are successors equally often.
            successors[members, rank] = following[(np.arange(members.size) + rank) % following.size]
    probabilities = np.where(successors >= 0, np.array(SUCCESSOR_PROBABILITIES), 0.0)
    return successors, probabilities / probabilities.sum(axis=1, keepdims=True)


def _walk(
    generator: np.random.Generator,
    successors: np.ndarray,
    probabilities: np.ndarray,
    lengths: np.ndarray,
    noise: float,
    real_at_end: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk all users at once.

    Args:
        generator: random numbers.
        successors: `[N, S]` the items that may follow each item.
        probabilities: `[N, S]` their probabilities.
        lengths: `[U]` number of events of each user.
        noise: probability of noise.
        real_at_end: number of the last events of each user that are never noise.

    Returns:
        `[U, longest]` items; `[U, longest]` bool, True = noise; and `[U, longest]` items that the pattern has there.
    """
    n_items, longest = len(successors), int(lengths.max())
    n_categories = len(CATEGORIES)
    steps = np.arange(longest)
    is_noise = generator.random((lengths.size, longest), np.float32) < noise
    is_noise &= steps < lengths[:, np.newaxis] - real_at_end
    items = np.empty((lengths.size, longest), np.int32)
    due_items = np.empty_like(items)
    bounds = np.cumsum(probabilities, axis=1)[:, :-1]
    due = generator.integers(0, n_items, lengths.size)
    for step in steps:
        # Noise is any item; if it is of the category due, it is moved by one to eleven categories.
        stray = generator.integers(0, n_items, lengths.size)
        shift = generator.integers(1, n_categories, lengths.size)
        moved = (stray - stray % n_categories) + (stray % n_categories + shift) % n_categories
        moved = np.where(moved < n_items, moved, moved - n_categories)
        stray = np.where(stray % n_categories == due % n_categories, moved, stray)
        items[:, step] = np.where(is_noise[:, step], stray, due)
        due_items[:, step] = due
        drawn = (generator.random((lengths.size, 1)) >= bounds[due]).sum(axis=1)
        due = np.where(is_noise[:, step], due, successors[due, drawn])
    return items, is_noise, due_items


def _popular_noise(generator: np.random.Generator, popularity: np.ndarray, due: np.ndarray) -> np.ndarray:
    """Draw noise by popularity among the items of any category but the one that is due.

    Args:
        generator: random numbers.
        popularity: `[N]` number of real events of each item.
        due: `[E]` the item that the pattern has at each noise event.

    Returns:
        `[E]` items.
    """
    items = np.empty_like(due)
    categories = np.arange(popularity.size) % len(CATEGORIES)
    for category in range(len(CATEGORIES)):
        is_due = due % len(CATEGORIES) == category
        others = categories != category
        weights = np.where(others, popularity, 0)
        if not weights.any():  # very few users
            weights = others
        items[is_due] = generator.choice(popularity.size, is_due.sum(), p=weights / weights.sum())
    return items


def _item_names(n_items: int) -> pl.Series:
    # Item i belongs to category i % 12 and is number i // 12 + 1 in it.
    index = pl.int_range(n_items, eager=True)
    number = (index // len(CATEGORIES) + 1).cast(pl.String)
    width = max(2, len(str(-(-n_items // len(CATEGORIES)))))
    return pl.Series(CATEGORIES).gather(index % len(CATEGORIES)) + "-" + number.str.zfill(width)


def simulate_events(
    out: str | Path,
    users: int = 2000,
    items: int = 300,
    noise: float = 0.15,
    seed: int = 0,
    overwrite: bool = False,
    *,
    noise_anywhere: bool = False,
    noise_kind: SimulatedNoise = "uniform",
) -> tuple[Path, Path, Path]:
    """Simulate events and write them together with the planted noise and transitions.

    In addition to `events.csv`, it writes `events.truth.csv`, the same rows with category and noise flag, and
    `events.transitions.csv`, the planted transitions. The files appear once all three are written.

    Args:
        out: the events file, with the extension `.csv` or `.parquet`, in an existing folder.
        users: number of users. Default: 2000.
        items: number of items. Default: 300.
        noise: probability of noise. Default: 0.15.
        seed: seed of everything. Default: 0.
        overwrite: replace existing files. Default: False.
        noise_anywhere: see `simulate`. Default: False.
        noise_kind: see `simulate`. Default: "uniform".

    Returns:
        The files of events, truth and transitions.

    Raises:
        InputError: an argument of `simulate` is out of its range, the extension is unknown, the folder is missing, or a
            file exists or cannot be written.

    Example:
        >>> events, truth, transitions = simulate_events("events.csv", users=100)  # doctest: +SKIP
    """
    files = output_files(out, ".truth.csv", ".transitions.csv", overwrite=overwrite)
    simulation = simulate(users, items, noise, seed, noise_anywhere=noise_anywhere, noise_kind=noise_kind)
    tables = (simulation.events, simulation.truth, simulation.transitions)
    write_tables(dict(zip(files, tables, strict=True)))
    return files[0], files[1], files[2]


def planted_histories(data: PreparedData, truth_file: str | Path) -> list[PlantedHistory]:
    """Read each user's simulated events before the test item, limited to the events that a model reads.

    Args:
        data: prepared data of the simulated events.
        truth_file: the `.truth.csv` file that `laclrec-tf simulate` or `laclrec-tf corrupt` wrote together with the
            events.

    Returns:
        Per user, the last `data.max_length` events whose item is in the data, oldest first.

    Raises:
        InputError: the file cannot be read, a column is missing, a value is wrong, or none of its items is in the data.

    Example:
        >>> planted_histories(PreparedData.open("data"), "events.truth.csv")[0]  # doctest: +SKIP
        [('i0007', False), ('i0121', True), ('i0008', False)]
    """
    try:
        truth = _read_truth(Path(truth_file))
    except InputError as error:
        raise InputError(
            f"Cannot read {truth_file} as the truth of simulated events, columns {', '.join(_TRUTH_COLUMNS)}: "
            f"{error} Give the .truth.csv file that `laclrec-tf simulate` wrote."
        ) from None
    by_user = truth.sort("user_id", "timestamp", maintain_order=True).group_by("user_id", maintain_order=True)
    histories = [events[:-1].select("item_id", "is_noise").iter_rows() for _, events in by_user]
    known = [[event for event in history if event[0] in data.vocabulary][-data.max_length :] for history in histories]
    if not any(known):
        raise InputError(f"No item of {truth_file} is in {data.folder}. Give the truth of the data's events.")
    return known


def _read_truth(file: Path) -> pl.DataFrame:
    raw = read_columns(file, {name: name for name in _TRUTH_COLUMNS}, named_by_option=False)
    texts = raw.select(pl.col(*_TRUTH_COLUMNS).cast(pl.String))
    is_noise = pl.col("is_noise").str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    times = pl.col("timestamp").cast(pl.Int64, strict=False)
    if texts.select(times.is_null().any()).item():
        fractions = pl.col("timestamp").cast(pl.Float64, strict=False)
        times = pl.when(fractions.is_finite()).then(fractions).alias("timestamp")
    truth = texts.with_columns(times, is_noise.cast(pl.Boolean))
    for name, expected in _TRUTH_COLUMNS.items():
        for row in truth[name].is_null().arg_true():
            raise InputError(
                f"{file}, {row_place(file, raw['row'][row])}: the {name} must be {expected}. "
                f"Received: {texts[name][row]!r}."
            )
    return truth


def planted_ids(histories: Sequence[PlantedHistory], vocabulary: ItemVocabulary) -> tuple[list[np.ndarray], np.ndarray]:
    """Convert planted histories to item ids and noise flags.

    Args:
        histories: the result of `planted_histories`.
        vocabulary: the items.

    Returns:
        Per user `[n]` int32 ids, and `[E]` bool over the events of all histories in order, True = noise.

    Example:
        >>> ids, is_noise = planted_ids([[("tent", False), ("kayak", True)]], ItemVocabulary(["kayak", "tent"]))
        >>> ids[0].tolist(), is_noise.tolist()
        ([2, 1], [False, True])
    """
    ids = [np.array(vocabulary.to_ids(item for item, _ in history), np.int32) for history in histories]
    return ids, np.array([is_noise for history in histories for _, is_noise in history], bool)
