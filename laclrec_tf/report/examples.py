"""Example users: some whose next item was ranked high, and some whose next item was ranked low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.evaluation.augmenter_edits import EditedHistory, EditedItem, edited_histories, likeliest_edits
from laclrec_tf.metrics.ranking import MISSED
from laclrec_tf.ops.masking import pad_histories
from laclrec_tf.report.measure import HeldOutUsers
from laclrec_tf.run_folder import RunFolder

FOUND_WITHIN = 3
WORST_SHARE = 0.1
MAX_CANDIDATES = 64


@dataclass(frozen=True)
class Example:
    """One user with a history, recommendations and the next item.

    Args:
        user: User id.
        history: History before editing and, if the run has an augmenter, after it.
        is_edited: Whether the run has an augmenter.
        recommended: Recommended items, best first.
        target: The next item.
        rank: Rank of the next item; the best is 1.
    """

    user: str
    history: EditedHistory
    is_edited: bool
    recommended: tuple[str, ...]
    target: str
    rank: int


def report_examples(run: RunFolder, users: HeldOutUsers, *, n: int, seed: int) -> dict[str, list[Example]]:
    """Draw users at random. Users whose history the augmenter changes come first.

    Args:
        run: The run.
        users: Its test users.
        n: Number of users of each kind.
        seed: Seed of the draw.

    Returns:
        `good`: users whose next item is among the first three. `bad`: users whose rank is in the worst tenth, and whose
        next item is not among the first three. Users whose next item is never recommended are in neither.
    """
    good = np.flatnonzero(users.ranks < FOUND_WITHIN)
    ranked = users.ranks[users.ranks < MISSED]
    worst = np.quantile(ranked, 1 - WORST_SHARE, method="lower") if ranked.size else MISSED
    bad = np.flatnonzero((users.ranks >= max(worst, FOUND_WITHIN)) & (users.ranks < MISSED))
    generator = np.random.default_rng(seed)
    return {name: _drawn(run, users, generator.permutation(pool), n) for name, pool in (("good", good), ("bad", bad))}


def _drawn(run: RunFolder, users: HeldOutUsers, pool: np.ndarray, n: int) -> list[Example]:
    rows = pool[:MAX_CANDIDATES].tolist()
    if not rows:
        return []
    read = users.read_by(run.model)
    histories = _histories(run, [read[row] for row in rows])
    # The sort is stable, so the order stays random otherwise.
    order = sorted(range(len(rows)), key=lambda place: not histories[place].is_changed)[:n]
    return [_example(run, users, rows[place], histories[place]) for place in order]


def _histories(run: RunFolder, histories: list[np.ndarray]) -> list[EditedHistory]:
    if not run.model.has_augmenter:
        kept = [tuple(EditedItem(item, "keep") for item in run.vocabulary.to_items(ids)) for ids in histories]
        return [EditedHistory(items, items) for items in kept]
    padded = pad_histories(histories)
    return edited_histories(padded, likeliest_edits(run.model, tf.constant(padded)), run.vocabulary)


def _example(run: RunFolder, users: HeldOutUsers, row: int, history: EditedHistory) -> Example:
    found: Any = users.lists[row][users.lists[row] > 0].tolist()
    (target,) = run.vocabulary.to_items([int(users.targets[row])])
    return Example(
        users.user_ids[row],
        history,
        run.model.has_augmenter,
        tuple(run.vocabulary.to_items(found)),
        target,
        1 + int(users.ranks[row]),
    )
