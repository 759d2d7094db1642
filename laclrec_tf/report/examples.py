"""Users to look at: some whose next item was found, some whose next item was far down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.evaluation.augmenter_edits import EditedHistory, EditedItem, edited_histories, likeliest_edits
from laclrec_tf.ops.masking import pad_histories
from laclrec_tf.report.measure import HeldOutUsers
from laclrec_tf.run_folder import RunFolder

FOUND_WITHIN = 3
WORST_SHARE = 0.1
LOOKED_AT = 64


@dataclass(frozen=True)
class Example:
    """One user.

    Args:
        user: the id.
        history: before editing and, of a run with augmenter, after it.
        is_edited: the run has an augmenter.
        recommended: the best items, best first.
        target: the item that came next.
        rank: its place from 1.
    """

    user: str
    history: EditedHistory
    is_edited: bool
    recommended: tuple[str, ...]
    target: str
    rank: int


def report_examples(run: RunFolder, users: HeldOutUsers, *, n: int, seed: int) -> dict[str, list[Example]]:
    """Draw users at random, those whose history the augmenter changes before others.

    Args:
        run: the run.
        users: its test users.
        n: how many of each kind.
        seed: of the draw.

    Returns:
        Under `good` users whose next item was among the first three, under `bad` those of the worst tenth of ranks
        whose next item was not.
    """
    good = np.flatnonzero(users.ranks < FOUND_WITHIN)
    worst = np.quantile(users.ranks, 1 - WORST_SHARE, method="lower")
    bad = np.flatnonzero((users.ranks >= worst) & (users.ranks >= FOUND_WITHIN))
    generator = np.random.default_rng(seed)
    return {name: _drawn(run, users, generator.permutation(pool), n) for name, pool in (("good", good), ("bad", bad))}


def _drawn(run: RunFolder, users: HeldOutUsers, pool: np.ndarray, n: int) -> list[Example]:
    rows = pool[:LOOKED_AT].tolist()
    if not rows:
        return []
    histories = _histories(run, [users.histories[row] for row in rows])
    order = sorted(range(len(rows)), key=lambda place: not histories[place].is_changed)[:n]  # sorting keeps the draw
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
