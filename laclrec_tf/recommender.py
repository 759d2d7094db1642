"""A model for work in Python: tables or lists of histories in, tables or lists of answers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from narwhals.typing import IntoDataFrameT

from laclrec_tf.data.event_files import as_ids
from laclrec_tf.data.tables import eager_frame, is_table, table_columns
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.recommender_tables import HistoryTable, add_columns, edit_columns, history_columns, ranked_columns
from laclrec_tf.run_folder import RECORD_FILE, RunFolder, has_epochs
from laclrec_tf.serving.client.answers import AugmentedHistory, Recommendation, SimilarItems
from laclrec_tf.serving.client.queries import Answer, HistoryQueries, Items
from laclrec_tf.serving.local.models import LiveModel, LocalModel
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE, version_folder, version_numbers
from laclrec_tf.serving.version.metadata import VersionDescription


class Recommender:
    """A trained model that is asked with tables; `laclrec_tf.load` makes one.

    Histories come as a table of pandas, polars or pyarrow, and the answer is a table of the same library. Or they come
    as a list of item ids or a list of such lists, and the answer is the list of what `RetrievalClient` returns. The
    signatures that a server calls give all answers.

    A table has a row for each event (`user_id`, `item_id`, `timestamp`), or a row for each history (`history`, a list
    of item ids; `user_id` if wanted). The arguments `user_column`, `item_column`, `time_column` and `history_column`
    name other columns; `time_column=None` takes rows as ordered. The answer's first column is the user's, with its own
    type, or `row`, the number of the history from 0.

    Args:
        model: what answers.
        vocabulary: the items that it knows.
        max_length: how many of a history's last items it reads.
        has_augmenter: whether `augment` and `clean` can be asked.
        source: where it came from, for `repr`.

    Attributes:
        model: what answers; `model.rank` and the embeddings are asked of it.
        vocabulary: the items that it knows.

    Example:
        >>> import laclrec_tf  # doctest: +SKIP
        >>> model = laclrec_tf.load("run")  # doctest: +SKIP
        >>> model.recommend(events, k=3)  # doctest: +SKIP
           user_id  rank item_id     score
        0      ann     1   stove  4.801201
        1      ann     2    rope  3.977345
        ...
        >>> model.recommend(["tent", "stove"], k=3)[0].item_ids  # doctest: +SKIP
        ('rope', 'lamp', 'mug')
    """

    def __init__(
        self, model: HistoryQueries, vocabulary: ItemVocabulary, *, max_length: int, has_augmenter: bool, source: str
    ) -> None:
        """Take what answers."""
        self.model = model
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.has_augmenter = has_augmenter
        self.source = source

    @overload
    def recommend(
        self,
        histories: Items,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        allow: Sequence[str] = (),
        exclude_history: bool = True,
    ) -> list[Recommendation]: ...
    @overload
    def recommend(
        self,
        histories: IntoDataFrameT,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        allow: Sequence[str] = (),
        exclude_history: bool = True,
        **columns: str | None,
    ) -> IntoDataFrameT: ...
    def recommend(
        self,
        histories: Any,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        allow: Sequence[str] = (),
        exclude_history: bool = True,
        **columns: str | None,
    ) -> Any:
        """Recommend the next items for each user.

        Args:
            histories: a table, or lists of item ids. Unknown items are skipped; a history without a known one gets the
                most popular items.
            k: how many items. Default: 10.
            exclude: item ids never to recommend. Default: none.
            allow: the only item ids to recommend. Default: every item may come.
            exclude_history: never recommend an item of the history. Default: True.
            **columns: names of the table's columns, see the class.

        Returns:
            A table with the columns user, `rank` (from 1), `item_id` and `score`, or a list of `Recommendation`.

        Raises:
            InputError: an argument is out of its range, or the table cannot be read.
        """
        asked = _asked(histories, columns)
        if not isinstance(asked, HistoryTable):
            return self.model.recommend(asked, k, exclude, allow, exclude_history)
        answers = self._each(
            lambda rows: self.model.recommend(rows, k, exclude, allow, exclude_history), asked.histories
        )
        return asked.answer([len(answer.item_ids) for answer in answers], ranked_columns(answers, "item_id"))

    @overload
    def similar_items(self, items: Sequence[str], k: int = 10) -> list[SimilarItems]: ...
    @overload
    def similar_items(self, items: IntoDataFrameT, k: int = 10, *, item_column: str = "item_id") -> IntoDataFrameT: ...
    def similar_items(self, items: Any, k: int = 10, *, item_column: str = "item_id") -> Any:
        """Find the items most similar to each of the given ones.

        Args:
            items: item ids, or a table with a row for each item.
            k: how many neighbours of each. Default: 10.
            item_column: of the table. Default: "item_id".

        Returns:
            A table with the columns item, `rank`, `similar_item_id` and `score`, without rows for an unknown item; or
            a list of `SimilarItems`.

        Raises:
            InputError: an argument is out of its range, or the table cannot be read.
        """
        if not is_table(items):
            return self.model.similar_items(items, k)
        columns = {"item_column": item_column}
        ids = as_ids("The table", table_columns(items, columns)[item_column]).fill_null("").to_list()
        answers = self._each(lambda rows: self.model.similar_items(rows, k), ids)
        rows = [row for row, answer in enumerate(answers) for _ in answer.item_ids]
        return add_columns(
            eager_frame(items, columns).select(item_column)[rows], ranked_columns(answers, "similar_item_id")
        )

    @overload
    def augment(self, histories: Items) -> list[AugmentedHistory]: ...
    @overload
    def augment(self, histories: IntoDataFrameT, **columns: str | None) -> IntoDataFrameT: ...
    def augment(self, histories: Any, **columns: str | None) -> Any:
        """Ask what the learned augmenter does to each item of each history.

        Args:
            histories: a table, or lists of item ids. Unknown items are skipped, and the most recent ones are read.
            **columns: names of the table's columns, see the class.

        Returns:
            A table with a row for each item that was read: user, `position` (from 1), `item_id`, `operation` ("keep",
            "delete" or "insert"), its probabilities `keep`, `delete` and `insert`, and `inserted`, how many items come
            before this one; `clean` has which. Or a list of `AugmentedHistory`.

        Raises:
            InputError: the model has no augmenter, or the table cannot be read.
        """
        self._check_augmenter()
        asked = _asked(histories, columns)
        if not isinstance(asked, HistoryTable):
            return self.model.augment(asked)
        answers = self._each(self.model.augment, asked.histories)
        return asked.answer([len(answer.history) for answer in answers], edit_columns(answers))

    @overload
    def clean(self, histories: Items) -> list[list[str]]: ...
    @overload
    def clean(self, histories: IntoDataFrameT, **columns: str | None) -> IntoDataFrameT: ...
    def clean(self, histories: Any, **columns: str | None) -> Any:
        """Return histories as the augmenter leaves them: noise deleted, what is missing inserted.

        Args:
            histories: a table, or lists of item ids. Unknown items are skipped, and the most recent ones are read.
            **columns: names of the table's columns, see the class.

        Returns:
            A table with the columns user, `position` (from 1) and `item_id`, or a list of lists of item ids.

        Raises:
            InputError: the model has no augmenter, or the table cannot be read.
        """
        self._check_augmenter()
        asked = _asked(histories, columns)
        if not isinstance(asked, HistoryTable):
            return [list(answer.edited_history) for answer in self.model.augment(asked)]
        cleaned = [answer.edited_history for answer in self._each(self.model.augment, asked.histories)]
        return asked.answer([len(history) for history in cleaned], history_columns(cleaned))

    def __repr__(self) -> str:
        augmenter = "with" if self.has_augmenter else "without"
        return (
            f"Recommender({self.source}: {self.vocabulary.n_items:,} items, reads the last {self.max_length} of a "
            f"history, {augmenter} an augmenter)"
        )

    def _check_augmenter(self) -> None:
        if not self.has_augmenter:
            raise InputError(
                f"{self!r} cannot edit histories. Train one that can, such as `laclrec-tf train --preset laclrec`."
            )

    @staticmethod
    def _each(ask: Callable[[Sequence[Any]], list[Answer]], rows: Sequence[Any]) -> list[Answer]:
        return ask(rows) if rows else []  # an empty list of histories would be one empty history


def _asked(histories: Any, columns: dict[str, Any]) -> HistoryTable | Items:
    if is_table(histories):
        strange = sorted(columns.keys() - {"user_column", "item_column", "time_column", "history_column"})
        if strange:
            raise InputError(
                f"Unknown argument `{strange[0]}`. Columns are named by user_column, item_column, time_column and "
                "history_column."
            )
        return HistoryTable.read(histories, **columns)
    if columns:
        raise InputError(f"Argument `{next(iter(columns))}` names a column of a table. Received: lists of item ids.")
    return histories


def load(path: str | Path) -> Recommender:
    """Load a trained model.

    A run's answers are those of the version that `laclrec-tf export` makes of it with an exact index.

    Args:
        path: a folder made by `laclrec-tf train` or `grow`; or `saved_models/NAME`, of which the newest version is
            taken, or `saved_models/NAME/VERSION`.

    Returns:
        A `Recommender`.

    Raises:
        InputError: the folder holds neither a finished run nor an exported model, or a damaged one.

    Example:
        >>> import laclrec_tf  # doctest: +SKIP
        >>> laclrec_tf.load("run")  # doctest: +SKIP
        Recommender(run 'run', laclrec: 250 items, reads the last 50 of a history, with an augmenter)
        >>> laclrec_tf.load("saved_models/shop").recommend(["tent", "stove"], k=3)[0].item_ids  # doctest: +SKIP
        ('rope', 'lamp', 'mug')
    """
    folder = Path(path)
    if (folder / RECORD_FILE).is_file() or (folder.is_dir() and has_epochs(folder)):
        return _of_run(RunFolder.open(folder))
    if (folder / SAVED_MODEL_FILE).is_file() or version_numbers(folder):
        return _of_export(version_folder(folder))
    problem = "holds neither a finished run nor an exported model" if folder.is_dir() else "is no folder"
    raise InputError(
        f"{folder} {problem}. Give what `laclrec-tf train --out` made, or saved_models/NAME that `laclrec-tf export` "
        "wrote."
    )


def _of_run(run: RunFolder) -> Recommender:
    model = LiveModel(Retriever(run.model, run.vocabulary, run.popularity, retired=run.retired))
    return Recommender(
        model,
        run.vocabulary,
        max_length=run.model.max_length,
        has_augmenter=run.model.has_augmenter,
        source=f"run {str(run.folder)!r}, {run.record['settings']['preset']}",
    )


def _of_export(version: Path) -> Recommender:
    about = VersionDescription.read(version)
    model = LocalModel(version)
    return Recommender(
        model,
        about.vocabulary,
        max_length=about.max_length,
        has_augmenter="augment" in model.signature_names,
        source=f"SavedModel {str(version)!r}",
    )
