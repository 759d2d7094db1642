"""The queries that a retriever answers: their arguments, the requests they make, and the results they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.answers import (
    AugmentedHistory,
    HistoryVectors,
    ItemVectors,
    Ranking,
    Recommendation,
    SimilarItems,
)
from laclrec_tf.serving.history_batch import as_histories, as_items, padded_batch

BATCH_SIZE = 256  # max histories or items of a request; a query of more makes several requests
MAX_K = 2**31 - 1
Items: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
Arrays: TypeAlias = Mapping[str, np.ndarray]  # by input or output name; strings are object arrays of bytes
Answer = TypeVar("Answer")


class HistoryQueries(ABC):
    """Queries about histories and items, of any number and length.

    A server (`RetrievalClient`), a SavedModel on disk (`LocalModel`) and a retriever in memory (`LiveModel`) answer
    them. Every method raises `InputError` when an argument is out of its range, and when the model cannot answer.
    """

    def recommend(
        self,
        history: Items,
        k: int = 10,
        exclude: Items = (),
        allow: Items = (),
        exclude_history: bool | None = None,
    ) -> list[Recommendation]:
        """Recommend the next items.

        Args:
            history: item ids, oldest first, or a list of such histories. Unknown items are skipped. A history
                without a known item, such as `[]`, gets the most popular items.
            k: max number of items. Default: 10.
            exclude: item ids never to recommend, or one such list for each history. Default: none.
            allow: the only item ids to recommend, or one such list for each history. An empty list restricts
                nothing. Default: no restriction.
            exclude_history: whether to exclude the items of the history. Default: as the model was trained.

        Returns:
            One `Recommendation` for each history; a single history gives a list of one.

        Raises:
            InputError: an argument is out of its range, or the model cannot answer.
        """
        return self._answer(recommend_query(history, k, exclude, allow, exclude_history))

    def similar_items(self, items: Sequence[str], k: int = 10) -> list[SimilarItems]:
        """Find the items most similar to each of the given ones.

        Args:
            items: item ids, at least one.
            k: max number of neighbours of each item. Default: 10.

        Returns:
            One `SimilarItems` for each item; an unknown item has no neighbours.
        """
        return self._answer(similar_items_query(items, k))

    def embed_history(self, history: Items) -> HistoryVectors:
        """Turn histories into vectors, to look up in an external index of the vectors of `embed_items`.

        Args:
            history: item ids, oldest first, or a list of such histories.

        Returns:
            `HistoryVectors`, a row for each history.
        """
        return self._answer(embed_history_query(history))

    def embed_items(self, items: Sequence[str]) -> ItemVectors:
        """Turn items into vectors, to build an external index.

        Args:
            items: item ids, at least one.

        Returns:
            `ItemVectors`, a row for each item.
        """
        return self._answer(embed_items_query(items))

    def rank(self, history: Items, candidates: Items) -> list[Ranking]:
        """Rank candidates for histories.

        Args:
            history: item ids, oldest first, or a list of such histories.
            candidates: item ids to rank, or one such list for each history. They may contain items of the history.
                Those that are not eligible, unknown or retired, come last.

        Returns:
            One `Ranking` for each history; a single history gives a list of one.
        """
        return self._answer(rank_query(history, candidates))

    def augment(self, history: Items) -> list[AugmentedHistory]:
        """Edit histories with the learned augmenter.

        Args:
            history: item ids, oldest first, or a list of such histories. Unknown items are skipped.

        Returns:
            One `AugmentedHistory` for each history; a single history gives a list of one.

        Raises:
            InputError: an argument is wrong, or the model has no augmenter or cannot answer.
        """
        return self._answer(augment_query(history))

    def _answer(self, query: RetrievalQuery[Answer]) -> Answer:
        return query.read([self._predict(query.signature, inputs) for inputs in query.requests])

    @abstractmethod
    def _predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Call a signature."""


@dataclass(frozen=True)
class RetrievalQuery(Generic[Answer]):
    """A query with checked arguments, split into requests.

    Args:
        signature: name of the signature that answers it.
        requests: the inputs of each request; strings are object arrays of bytes.
        read: makes the answer from the outputs of all requests, in their order. `""` is padding. It raises `InputError`
            when an output is missing.

    Example:
        >>> query = augment_query([["tent"], ["stove", "rope"]])
        >>> query.signature, [inputs["history"].shape for inputs in query.requests]
        ('augment', [(2, 2)])
    """

    signature: str
    requests: Sequence[Arrays]
    read: Callable[[Sequence[Arrays]], Answer]


def recommend_query(
    history: Items, k: int, exclude: Items, allow: Items, exclude_history: bool | None
) -> RetrievalQuery[list[Recommendation]]:
    """Make the query of `HistoryQueries.recommend`."""
    histories = as_histories("history", history)
    exclusions = _one_or_each("exclude", exclude, histories)
    allowed = _one_or_each("allow", allow, histories)
    scalars = {"k": _checked_k(k)}
    if exclude_history is not None:  # the signature has the model's own default
        scalars["exclude_history"] = np.array(bool(exclude_history))
    requests = [
        {
            "history": padded_batch(histories[part]),
            "exclude": padded_batch(exclusions if len(exclusions) == 1 else exclusions[part]),
            "allow": padded_batch(allowed if len(allowed) == 1 else allowed[part]),
            **scalars,
        }
        for part in _parts(histories)
    ]
    return RetrievalQuery("retrieve", requests, _recommendations)


def similar_items_query(items: Sequence[str], k: int) -> RetrievalQuery[list[SimilarItems]]:
    """Make the query of `HistoryQueries.similar_items`."""
    ids = as_items("items", items)
    requests = [{"items": _column(ids[part]), "k": _checked_k(k)} for part in _parts(ids)]
    return RetrievalQuery("similar_items", requests, lambda parts: _similar_items(ids, parts))


def embed_history_query(history: Items) -> RetrievalQuery[HistoryVectors]:
    """Make the query of `HistoryQueries.embed_history`."""
    return RetrievalQuery(
        "embed_history",
        _history_requests(history),
        lambda parts: HistoryVectors(_joined(parts, "user_vectors"), tuple(_joined(parts, "unknown").tolist())),
    )


def embed_items_query(items: Sequence[str]) -> RetrievalQuery[ItemVectors]:
    """Make the query of `HistoryQueries.embed_items`."""
    ids = as_items("items", items)
    return RetrievalQuery(
        "embed_items",
        [{"items": _column(ids[part])} for part in _parts(ids)],
        lambda parts: ItemVectors(_joined(parts, "item_vectors"), tuple(_joined(parts, "known").tolist())),
    )


def rank_query(history: Items, candidates: Items) -> RetrievalQuery[list[Ranking]]:
    """Make the query of `HistoryQueries.rank`."""
    histories = as_histories("history", history)
    lists = _one_or_each("candidates", candidates, histories)
    rows = lists * len(histories) if len(lists) == 1 else lists
    requests = [
        {"history": padded_batch(histories[part]), "candidates": padded_batch(rows[part])} for part in _parts(histories)
    ]
    return RetrievalQuery("rank", requests, lambda parts: _rankings(rows, parts))


def augment_query(history: Items) -> RetrievalQuery[list[AugmentedHistory]]:
    """Make the query of `HistoryQueries.augment`."""
    return RetrievalQuery("augment", _history_requests(history), _augmented_histories)


def _history_requests(history: Items) -> list[Arrays]:
    histories = as_histories("history", history)
    return [{"history": padded_batch(histories[part])} for part in _parts(histories)]


def _one_or_each(argument: str, value: Items, histories: list[list[str]]) -> list[list[str]]:
    lists = as_histories(argument, value)
    if len(lists) not in (1, len(histories)):
        raise InputError(
            f"Argument `{argument}` must be one list of item ids, or one for each history. "
            f"Received: {len(lists)} lists for {len(histories)} histories."
        )
    return lists


def _checked_k(k: int) -> np.ndarray:
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InputError(f"Argument `k` must be a whole number. Received: k={k!r}.")
    if k < 1:
        raise InputError(f"Argument `k` must be at least 1. Received: k={k}.")
    return np.array(min(int(k), MAX_K), np.int32)


def _column(items: list[str]) -> np.ndarray:
    return padded_batch([[item] for item in items])[:, 0]


def _parts(rows: Sequence[object]) -> Iterator[slice]:
    for start in range(0, len(rows), BATCH_SIZE):
        yield slice(start, start + BATCH_SIZE)


def _recommendations(parts: Sequence[Arrays]) -> list[Recommendation]:
    return [
        Recommendation(*_filled_slots(outputs, row), unknown=int(outputs["unknown"][row]))
        for outputs, row in _rows(parts, "unknown")
    ]


def _similar_items(items: Sequence[str], parts: Sequence[Arrays]) -> list[SimilarItems]:
    return [
        SimilarItems(item, *_filled_slots(outputs, row), known=bool(outputs["known"][row]))
        for item, (outputs, row) in zip(items, _rows(parts, "known"), strict=True)
    ]


def _rankings(candidates: Sequence[Sequence[str]], parts: Sequence[Arrays]) -> list[Ranking]:
    answers = []
    for items, (outputs, row) in zip(candidates, _rows(parts, "unknown"), strict=True):
        scores, eligible = _output(outputs, "scores")[row], _output(outputs, "eligible")[row]
        order = np.argsort(-scores[: len(items)], kind="stable")
        ranked, unknown = tuple(items[i] for i in order), int(outputs["unknown"][row])
        answers.append(Ranking(ranked, tuple(scores[order].tolist()), tuple(eligible[order].tolist()), unknown))
    return answers


def _augmented_histories(parts: Sequence[Arrays]) -> list[AugmentedHistory]:
    answers = []
    for outputs, row in _rows(parts, "history"):
        history = _strings(outputs["history"][row])
        probabilities = _output(outputs, "probabilities")[row, : len(history)].tolist()
        answers.append(
            AugmentedHistory(
                history=history,
                operations=_strings(_output(outputs, "operations")[row]),
                probabilities=tuple((keep, delete, insert) for keep, delete, insert in probabilities),
                inserted=tuple(map(_strings, _output(outputs, "inserted")[row, : len(history)])),
                edited_history=_strings(_output(outputs, "edited_history")[row]),
                unknown=int(_output(outputs, "unknown")[row]),
            )
        )
    return answers


def _rows(parts: Sequence[Arrays], name: str) -> Iterator[tuple[Arrays, int]]:
    """Yield each row of the answer: the outputs of its request, and its number in them. Output `name` has them all."""
    for outputs in parts:
        for row in range(len(_output(outputs, name))):
            yield outputs, row


def _joined(parts: Sequence[Arrays], name: str) -> np.ndarray:
    return np.concatenate([_output(outputs, name) for outputs in parts])


def _filled_slots(outputs: Arrays, row: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
    filled = int(_output(outputs, "filled")[row])  # fewer than there are slots when fewer items are eligible
    items, scores = _output(outputs, "item_ids")[row, :filled], _output(outputs, "scores")[row, :filled]
    return _strings(items), tuple(scores.tolist())


def _output(outputs: Arrays, name: str) -> np.ndarray:
    if name not in outputs:
        raise InputError(
            f"The model's answer has no output {name!r}, only {', '.join(sorted(outputs)) or 'none'}: the model was "
            "exported by another version of laclrec-tf. Export it again."
        )
    return outputs[name]


def _strings(padded: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(item.decode("utf-8") for item in padded if item)
