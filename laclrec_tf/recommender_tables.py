"""Read histories from a table of pandas, polars or pyarrow, and write answers to a table of the same library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Any

import narwhals as nw
import polars as pl

from laclrec_tf.data.events import table_interactions
from laclrec_tf.data.tables import eager_frame
from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.answers import AugmentedHistory, Recommendation, SimilarItems

# By column: the Python type of the values, and the values of all rows in order.
Columns = dict[str, tuple[type, Sequence[Any]]]
DTYPES = {str: nw.String(), int: nw.Int64(), float: nw.Float64(), bool: nw.Boolean()}


def ranked_columns(
    answers: Sequence[Recommendation] | Sequence[SimilarItems],
    item_column: str,
    titles: Mapping[str, str] | None = None,
) -> Columns:
    """Return columns with one row for each item of ranked lists.

    Args:
        answers: the ranked lists.
        item_column: name of the column of the items.
        titles: titles by item id. Default: None, no column of titles.

    Returns:
        `rank` (from 1), the column of the items, `score` and, with `titles`, `title`, None for an item without one.

    Example:
        >>> columns = ranked_columns([Recommendation(("tent", "mug"), (1.5, 0.5))], "item_id")
        >>> {name: values for name, (_, values) in columns.items()}
        {'rank': [1, 2], 'item_id': ['tent', 'mug'], 'score': [1.5, 0.5]}
    """
    items = [item for answer in answers for item in answer.item_ids]
    return {
        "rank": (int, [rank for answer in answers for rank in range(1, len(answer.item_ids) + 1)]),
        item_column: (str, items),
        "score": (float, [score for answer in answers for score in answer.scores]),
        **({} if titles is None else {"title": (str, [titles.get(item) for item in items])}),
    }


def edit_columns(answers: Sequence[AugmentedHistory]) -> Columns:
    """Return columns with one row for each item that the augmenter read.

    Args:
        answers: the edits of each history.

    Returns:
        `position` (from 1), `item_id`, `operation`, the probabilities `keep`, `delete` and `insert`, and `inserted`,
        the number of items inserted before this one.
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
    """Return columns with one row for each item of histories.

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


@dataclass(frozen=True)
class HistoryTable:
    """Histories and their users.

    Args:
        histories: item ids of each user, oldest first.
        owners: table with one column and one row for each history: the user ids with their own type, or `row`, the
            number of the history from 0.

    Example:
        >>> table = pl.DataFrame({"user_id": [7, 8, 7], "item_id": ["rope", "mug", "tent"], "timestamp": [2, 5, 1]})
        >>> histories = HistoryTable.read(table)
        >>> histories.histories
        (('tent', 'rope'), ('mug',))
        >>> histories.answer([1, 0], {"item_id": (str, ["stove"])}).rows()
        [(7, 'stove')]
    """

    histories: Sequence[Sequence[str]]
    owners: nw.DataFrame[Any]

    @classmethod
    def read(
        cls,
        table: Any,
        *,
        user_column: str = "user_id",
        item_column: str = "item_id",
        time_column: str | None = "timestamp",
        history_column: str = "history",
    ) -> HistoryTable:
        """Read the histories of a table.

        The table has one row for each event, or one row for each history if it has `history_column`. Of events with the
        same user, item and time the first is used, as in `laclrec-tf prepare`.

        Args:
            table: a table of pandas, polars or pyarrow.
            user_column: column of the user ids. Optional if there is one row for each history. Default: "user_id".
            item_column: column of the item ids of events. Default: "item_id".
            time_column: column of the times of events, see `read_interactions`. None: the rows are in order.
                Default: "timestamp".
            history_column: column of histories, lists of item ids, oldest first. Default: "history".

        Returns:
            Users in the order of their first row.

        Raises:
            InputError: a column is missing, or a value in it cannot be read.
        """
        names = list(getattr(table, "column_names", getattr(table, "columns", ())))
        if history_column in names and item_column not in names:
            return _of_lists(table, user_column if user_column in names else None, history_column)
        columns: dict[str, Any] = {"user_column": user_column, "item_column": item_column}
        frame = eager_frame(table, columns | ({"time_column": time_column} if time_column is not None else {}))
        if not len(frame):
            return cls((), frame.select(user_column))
        events = table_interactions(table, time_column=time_column, **columns).with_row_index("row")
        if time_column is not None:
            events = events.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
        order = "row" if time_column is None else "timestamp"
        users = (
            events.with_columns(first=pl.col("row").min().over("user_id"))
            .sort("first", order, maintain_order=True)
            .group_by("first", maintain_order=True)
            .agg("item_id")
        )
        histories = tuple(tuple(items) for items in users["item_id"].to_list())
        return cls(histories, frame.select(user_column)[users["first"].to_list()])

    def __repr__(self) -> str:
        items = sum(map(len, self.histories))
        return f"HistoryTable({len(self.histories):,} histories, {items:,} items in all)"

    def answer(self, counts: Sequence[int], columns: Mapping[str, tuple[type, Sequence[Any]]]) -> Any:
        """Return a table of the library of the table that was read.

        Args:
            counts: number of rows of each history.
            columns: further columns by name: the Python type of the values, and the values of all rows in order.

        Returns:
            The column of the owners, repeated by `counts`, and the further columns.
        """
        rows = [row for row, count in enumerate(counts) for _ in range(count)]
        return add_columns(self.owners[rows], columns)


def add_columns(frame: nw.DataFrame[Any], columns: Mapping[str, tuple[type, Sequence[Any]]]) -> Any:
    """Add columns to a frame and return a table of its library.

    Args:
        frame: the frame. The index of a pandas table is replaced by row numbers.
        columns: the columns, see `HistoryTable.answer`.

    Returns:
        A table of pandas, polars or pyarrow.

    Raises:
        InputError: the frame already has a column of such a name.
    """
    taken = sorted(set(frame.columns) & set(columns))
    if taken:
        raise InputError(
            f"The answer has a column {taken[0]!r}, and the table has one of the same name. Rename the table's column."
        )
    made = [
        nw.new_series(name, list(values), DTYPES[kind], backend=frame.implementation)
        for name, (kind, values) in columns.items()
    ]
    return nw.maybe_reset_index(frame).with_columns(*made).to_native()


def _of_lists(table: Any, user_column: str | None, history_column: str) -> HistoryTable:
    frame = eager_frame(table, {"history_column": history_column})
    histories = tuple(_items(history, row) for row, history in enumerate(frame.get_column(history_column).to_list()))
    if user_column is not None:
        return HistoryTable(histories, frame.select(user_column))
    rows = nw.new_series("row", list(range(len(histories))), nw.Int64(), backend=frame.implementation)
    return HistoryTable(histories, rows.to_frame())


def _items(history: Any, row: int) -> tuple[str, ...]:
    items = None if isinstance(history, str) or not isinstance(history, Iterable) else list(history)
    if items is None or not all(map(_is_id, items)):
        raise InputError(
            f"The table, row {row + 1}: the history must be a list of item ids, which are text or integers. "
            "Use an empty list for a user without items."
        )
    return tuple(map(str, items))


def _is_id(value: object) -> bool:
    return isinstance(value, str | Integral) and not isinstance(value, bool)
