"""A model's answers as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from laclrec_tf.serving.recommendation import AugmentedHistory, Recommendation, SimilarItems

# By name: the Python type of the values, and the values of all rows in order.
Columns = dict[str, tuple[type, Sequence[Any]]]


def ranked_columns(answers: Sequence[Recommendation] | Sequence[SimilarItems], item_column: str) -> Columns:
    """Give each item of ranked lists a row.

    Args:
        answers: the lists.
        item_column: the name of the items' column.

    Returns:
        `rank` (from 1), the items' column and `score`.

    Example:
        >>> columns = ranked_columns([Recommendation(("tent", "mug"), (1.5, 0.5))], "item_id")
        >>> {name: values for name, (_, values) in columns.items()}
        {'rank': [1, 2], 'item_id': ['tent', 'mug'], 'score': [1.5, 0.5]}
    """
    return {
        "rank": (int, [rank for answer in answers for rank in range(1, len(answer.item_ids) + 1)]),
        item_column: (str, [item for answer in answers for item in answer.item_ids]),
        "score": (float, [score for answer in answers for score in answer.scores]),
    }


def edit_columns(answers: Sequence[AugmentedHistory]) -> Columns:
    """Give each item that the augmenter read a row.

    Args:
        answers: what it does to each history.

    Returns:
        `position` (from 1), `item_id`, `operation`, its probabilities `keep`, `delete` and `insert`, and `inserted`,
        how many items come before this one.
    """
    chances = [chance for answer in answers for chance in answer.probabilities]
    return {
        **history_columns([answer.history for answer in answers]),
        "operation": (str, [operation for answer in answers for operation in answer.operations]),
        "keep": (float, [keep for keep, _, _ in chances]),
        "delete": (float, [delete for _, delete, _ in chances]),
        "insert": (float, [insert for _, _, insert in chances]),
        "inserted": (int, [len(run) for answer in answers for run in answer.inserted]),
    }


def history_columns(histories: Sequence[Sequence[str]]) -> Columns:
    """Give each item of histories a row.

    Args:
        histories: item ids, oldest first.

    Returns:
        `position` (from 1) and `item_id`.

    Example:
        >>> history_columns([["tent", "mug"], [], ["tent"]])
        {'position': (<class 'int'>, [1, 2, 1]), 'item_id': (<class 'str'>, ['tent', 'mug', 'tent'])}
    """
    return {
        "position": (int, [place for history in histories for place in range(1, len(history) + 1)]),
        "item_id": (str, list(chain.from_iterable(histories))),
    }
