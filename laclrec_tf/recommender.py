"""A trained model in Python: tables or lists of histories in, tables or lists of answers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from narwhals.dependencies import is_into_series
from narwhals.typing import IntoDataFrameT

from laclrec_tf.data.event_files import as_ids
from laclrec_tf.data.item_vectors import read_titles
from laclrec_tf.data.tables import eager_frame, is_table, table_columns
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.recommender_tables import HistoryTable, add_columns, edit_columns, history_columns, ranked_columns
from laclrec_tf.run_folder import RECORD_FILE, RunFolder, has_epochs
from laclrec_tf.serving.client.answers import AugmentedHistory, Recommendation, SimilarItems
from laclrec_tf.serving.client.queries import Answer, HistoryQueries, Items
from laclrec_tf.serving.local.models import LiveModel, LocalModel
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE, version_folder, version_folders
from laclrec_tf.serving.version.metadata import ServedItems, served_edits

Titles = Mapping[str, str] | str | Path | None


class Recommender:
    """A trained model that answers queries with tables or lists. `laclrec_tf.load` returns one.

    If the histories are a table of pandas, polars or pyarrow, the answer is a table of the same library. If they are a
    list of item ids or a list of such lists, the answer is a list of the results that `RetrievalClient` returns. The
    answers are those of a server, since the same signatures compute them.

    A table has one row for each event (`user_id`, `item_id`, `timestamp`) or one row for each history (`history`, a
    list of item ids, and optionally `user_id`). The arguments `user_column`, `item_column`, `time_column` and
    `history_column` name other columns; with `time_column=None` the rows are in order. The first column of the answer
    is the user's, with its own type, or `row`, the number of the history from 0.

    Args:
        model: the model that answers queries.
        vocabulary: the items that it knows.
        max_length: max number of items of a history that it reads, the last ones.
        has_augmenter: whether it can answer `augment` and `clean`.
        source: description of its origin, for `repr`.

    Attributes:
        model: the model that answers queries, also those for ranks and embeddings, e.g. `model.rank`.
        vocabulary: the items that it knows.
        max_length: max number of items of a history that it reads, the last ones.
        has_augmenter: whether it can answer `augment` and `clean`.

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
        exclude_history: bool | None = None,
    ) -> list[Recommendation]: ...
    @overload
    def recommend(
        self,
        histories: IntoDataFrameT,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        allow: Sequence[str] = (),
        exclude_history: bool | None = None,
        titles: Titles = None,
        **columns: str | None,
    ) -> IntoDataFrameT: ...
    def recommend(
        self,
        histories: Any,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        allow: Sequence[str] = (),
        exclude_history: bool | None = None,
        titles: Titles = None,
        **columns: str | None,
    ) -> Any:
        """Recommend the next items for each user.

        Args:
            histories: a table, or lists of item ids. Unknown items are skipped. A history without a known item gets
                the most popular items.
            k: max number of items. Default: 10.
            exclude: item ids never to recommend. Default: none.
            allow: the only item ids to recommend. Default: all items.
            exclude_history: whether to exclude the items of the history. Default: as the model was trained.
            titles: for a table: titles by item id, or a file with the columns `item_id` and `title`; `read_titles`
                reads other columns. Default: None, no titles.
            **columns: names of the table's columns, see the class.

        Returns:
            A table with the columns user, `rank` (from 1), `item_id` and `score`, and with `titles` also `title`, null
            for an item without one; or a list of `Recommendation`.

        Raises:
            InputError: an argument is out of its range, or the table or the titles cannot be read.
        """
        named = _named(titles, histories)
        queries = _queries(histories, columns)
        if not isinstance(queries, HistoryTable):
            return self.model.recommend(queries, k, exclude, allow, exclude_history)
        answers = _answers(
            lambda rows: self.model.recommend(rows, k, exclude, allow, exclude_history), queries.histories
        )
        return queries.answer([len(answer.item_ids) for answer in answers], ranked_columns(answers, "item_id", named))

    @overload
    def similar_items(self, items: Sequence[str], k: int = 10) -> list[SimilarItems]: ...
    @overload
    def similar_items(
        self, items: IntoDataFrameT, k: int = 10, *, item_column: str = "item_id", titles: Titles = None
    ) -> IntoDataFrameT: ...
    def similar_items(self, items: Any, k: int = 10, *, item_column: str = "item_id", titles: Titles = None) -> Any:
        """Find the items most similar to each of the given ones.

        Args:
            items: item ids, or a table with one row for each item.
            k: number of similar items. Default: 10.
            item_column: column of the items in the table. Default: "item_id".
            titles: titles of the similar items, see `recommend`. Default: None, no titles.

        Returns:
            A table with the columns item, `rank`, `similar_item_id` and `score`, and with `titles` also `title`,
            without rows for unknown items; or a list of `SimilarItems`.

        Raises:
            InputError: an argument is out of its range, or the table or the titles cannot be read.
        """
        named = _named(titles, items)
        if not is_table(items):
            return self.model.similar_items(items, k)
        columns = {"item_column": item_column}
        ids = as_ids("The table", table_columns(items, columns)[item_column]).fill_null("").to_list()
        answers = _answers(lambda rows: self.model.similar_items(rows, k), ids)
        rows = [row for row, answer in enumerate(answers) for _ in answer.item_ids]
        return add_columns(
            eager_frame(items, columns).select(item_column)[rows], ranked_columns(answers, "similar_item_id", named)
        )

    @overload
    def augment(self, histories: Items) -> list[AugmentedHistory]: ...
    @overload
    def augment(self, histories: IntoDataFrameT, **columns: str | None) -> IntoDataFrameT: ...
    def augment(self, histories: Any, **columns: str | None) -> Any:
        """Return the edits of the learned augmenter for each item of each history.

        Args:
            histories: a table, or lists of item ids. Unknown items are skipped, and the last `max_length` are read.
            **columns: names of the table's columns, see the class.

        Returns:
            A table with one row for each item that was read: user, `position` (from 1), `item_id`, `operation` ("keep",
            "delete" or "insert"), the probabilities `keep`, `delete` and `insert`, and `inserted`, the number of items
            inserted before this one (`clean` returns the items). Or a list of `AugmentedHistory`.

        Raises:
            InputError: the model has no augmenter, or the table cannot be read.
        """
        queries, answers = self._edits(histories, columns)
        if not isinstance(queries, HistoryTable):
            return answers
        return queries.answer([len(answer.history) for answer in answers], edit_columns(answers))

    @overload
    def clean(self, histories: Items) -> list[list[str]]: ...
    @overload
    def clean(self, histories: IntoDataFrameT, **columns: str | None) -> IntoDataFrameT: ...
    def clean(self, histories: Any, **columns: str | None) -> Any:
        """Return the histories after the edits of the augmenter: noise deleted, missing items inserted.

        Args:
            histories: a table, or lists of item ids. Unknown items are skipped, and the last `max_length` are read.
            **columns: names of the table's columns, see the class.

        Returns:
            A table with the columns user, `position` (from 1) and `item_id`, or a list of lists of item ids.

        Raises:
            InputError: the model has no augmenter, or the table cannot be read.
        """
        queries, answers = self._edits(histories, columns)
        cleaned = [list(answer.edited_history) for answer in answers]
        if not isinstance(queries, HistoryTable):
            return cleaned
        return queries.answer([len(history) for history in cleaned], history_columns(cleaned))

    def _edits(
        self, histories: Any, columns: dict[str, Any]
    ) -> tuple[HistoryTable, list[AugmentedHistory]] | tuple[Items, list[AugmentedHistory]]:
        if not self.has_augmenter:
            raise InputError(
                f"{self!r} cannot edit histories. Train a model with an augmenter, e.g. "
                "`laclrec-tf train --preset laclrec`."
            )
        queries = _queries(histories, columns)
        if not isinstance(queries, HistoryTable):
            return queries, self.model.augment(queries)
        return queries, _answers(self.model.augment, queries.histories)

    def __repr__(self) -> str:
        augmenter = "with" if self.has_augmenter else "without"
        return (
            f"Recommender({self.source}: {self.vocabulary.n_items:,} items, reads the last {self.max_length} of a "
            f"history, {augmenter} an augmenter)"
        )


def _answers(query: Callable[[Sequence[Any]], list[Answer]], rows: Sequence[Any]) -> list[Answer]:
    return query(rows) if rows else []  # the model would read an empty list as one empty history


def _named(titles: Titles, queries: Any) -> Mapping[str, str] | None:
    if titles is not None and not is_table(queries):
        raise InputError("Argument `titles` adds a column to a table. Received: lists of item ids. Remove it.")
    if titles is None or isinstance(titles, Mapping):
        return titles
    if not isinstance(titles, str | Path):
        raise InputError(
            f"Argument `titles` must be a dictionary or a file. Received: a {type(titles).__name__}. Give titles by "
            "item id, e.g. dict(zip(table['item_id'], table['title']))."
        )
    return read_titles(titles)


def _queries(histories: Any, columns: dict[str, Any]) -> HistoryTable | Items:
    if is_into_series(histories):
        raise InputError(
            "Argument `histories` must be a table or lists of item ids. Received: a single column, which does not say "
            "whose items these are. Give the table with its column of users, or list(column) for one user's history."
        )
    if is_table(histories):
        unknown = sorted(columns.keys() - {"user_column", "item_column", "time_column", "history_column"})
        if unknown:
            raise InputError(
                f"Unknown argument `{unknown[0]}`. The arguments for columns are user_column, item_column, time_column "
                "and history_column."
            )
        return HistoryTable.read(histories, **columns)
    if columns:
        raise InputError(
            f"Argument `{next(iter(columns))}` names a column of a table. Received: lists of item ids. Remove it."
        )
    return histories


def load(path: str | Path, *, edits: str = "chosen") -> Recommender:
    """Load a trained model.

    A run gives the same answers as the SavedModel that `laclrec-tf export` writes with an exact index.

    Args:
        path: run folder made by `laclrec-tf train` or `grow`; `saved_models/NAME`, for its newest version; or
            `saved_models/NAME/VERSION`.
        edits: for a run: "none", "uniform" or "learned", whether it mixes its predictions over the edits of each
            history, see `laclrec_tf.layers.EditMixture`. An export keeps what it was made with. Default: "chosen", what
            the run's calibration chose.

    Returns:
        A `Recommender`.

    Raises:
        InputError: the folder contains neither a finished run nor an exported model, it is damaged, or `edits` is
            unknown, not calibrated or given for an export.

    Example:
        >>> import laclrec_tf  # doctest: +SKIP
        >>> laclrec_tf.load("run")  # doctest: +SKIP
        Recommender(run 'run', laclrec: 250 items, reads the last 50 of a history, with an augmenter)
        >>> laclrec_tf.load("saved_models/shop").recommend(["tent", "stove"], k=3)[0].item_ids  # doctest: +SKIP
        ('rope', 'lamp', 'mug')
    """
    folder = Path(path)
    if (folder / RECORD_FILE).is_file() or (folder.is_dir() and has_epochs(folder)):
        return _of_run(RunFolder.open(folder), edits)
    if (folder / SAVED_MODEL_FILE).is_file() or version_folders(folder):
        version = version_folder(folder)
        if edits not in ("chosen", served_edits(version)):
            raise InputError(
                f"{folder} serves edits={served_edits(version)!r}, see `export`. Received: edits={edits!r}. "
                "Leave the argument out, or give the run's folder."
            )
        return _of_export(version)
    problem = "contains neither a finished run nor an exported model" if folder.is_dir() else "is not a folder"
    raise InputError(
        f"{folder} {problem}. Give a run folder made by `laclrec-tf train`, or saved_models/NAME made by "
        "`laclrec-tf export`."
    )


def _of_run(run: RunFolder, edits: str) -> Recommender:
    edits = run.edits_to_use(edits)
    model = LiveModel(Retriever(run.model, run.vocabulary, run.popularity, retired=run.retired, edits=edits))
    return Recommender(
        model,
        run.vocabulary,
        max_length=run.model.max_length,
        has_augmenter=run.model.has_augmenter,
        source=f"run {str(run.folder)!r}, {run.record['settings']['preset']}" + f", edits: {edits}" * (edits != "none"),
    )


def _of_export(version: Path) -> Recommender:
    about = ServedItems.read(version)
    model = LocalModel(version)
    return Recommender(
        model,
        about.vocabulary,
        max_length=about.max_length,
        has_augmenter="augment" in model.signature_names,
        source=f"SavedModel {str(version)!r}",
    )
