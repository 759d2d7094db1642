"""Questions to a retriever: the requests they make and how the answers are read, whoever carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving import answer_reading as read
from laclrec_tf.serving.history_batch import as_histories, as_items, padded_batch
from laclrec_tf.serving.recommendation import (
    AugmentedHistory,
    HistoryVectors,
    ItemVectors,
    Ranking,
    Recommendation,
    SimilarItems,
)

# More histories than this are asked in several requests.
BATCH_SIZE = 256
MAX_K = 2**31 - 1

Items: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
Arrays: TypeAlias = Mapping[str, np.ndarray]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetrievalQuery(Generic[Answer]):
    """A question, checked and put into requests.

    Args:
        signature: the signature that answers it.
        requests: the inputs of each request; strings are object arrays of bytes.
        read: makes the answer of the outputs of all requests, in their order. `InputError` when an output is
            missing.

    Example:
        >>> query = augment_query([["tent"], ["stove", "rope"]])
        >>> query.signature, [inputs["history"].shape for inputs in query.requests]
        ('augment', [(2, 2)])
    """

    signature: str
    requests: Sequence[Arrays]
    read: Callable[[Sequence[Arrays]], Answer]


def recommend_query(
    history: Items, k: int, exclude: Items, allow: Items, exclude_history: bool
) -> RetrievalQuery[list[Recommendation]]:
    """Ask for recommendations, see `HistoryQueries.recommend`."""
    histories = as_histories("history", history)
    exclusions = _one_or_each("exclude", exclude, histories)
    allowed = _one_or_each("allow", allow, histories)
    scalars = {"k": _checked_k(k), "exclude_history": np.array(bool(exclude_history))}
    requests = [
        {
            "history": padded_batch(histories[part]),
            "exclude": padded_batch(exclusions if len(exclusions) == 1 else exclusions[part]),
            "allow": padded_batch(allowed if len(allowed) == 1 else allowed[part]),
            **scalars,
        }
        for part in _parts(len(histories))
    ]
    return RetrievalQuery("retrieve", requests, lambda parts: [*chain.from_iterable(map(read.recommendations, parts))])


def similar_items_query(items: Sequence[str], k: int) -> RetrievalQuery[list[SimilarItems]]:
    """Ask for the neighbours of items, see `HistoryQueries.similar_items`."""
    asked = as_items("items", items)
    requests = [{"items": _column(asked[part]), "k": _checked_k(k)} for part in _parts(len(asked))]
    return RetrievalQuery("similar_items", requests, lambda parts: read.similar_items(asked, parts))


def embed_history_query(history: Items) -> RetrievalQuery[HistoryVectors]:
    """Ask for the vectors of histories, see `HistoryQueries.embed_history`."""
    return RetrievalQuery("embed_history", _history_requests(history), read.history_vectors)


def embed_items_query(items: Sequence[str]) -> RetrievalQuery[ItemVectors]:
    """Ask for the vectors of items, see `HistoryQueries.embed_items`."""
    asked = as_items("items", items)
    requests = [{"items": _column(asked[part])} for part in _parts(len(asked))]
    return RetrievalQuery("embed_items", requests, read.item_vectors)


def rank_query(history: Items, candidates: Items) -> RetrievalQuery[list[Ranking]]:
    """Ask for scores of candidates, see `HistoryQueries.rank`."""
    histories = as_histories("history", history)
    given = _one_or_each("candidates", candidates, histories)
    rows = given * len(histories) if len(given) == 1 else given
    requests = [
        {"history": padded_batch(histories[part]), "candidates": padded_batch(rows[part])}
        for part in _parts(len(histories))
    ]
    return RetrievalQuery("rank", requests, lambda parts: read.rankings(rows, parts))


def augment_query(history: Items) -> RetrievalQuery[list[AugmentedHistory]]:
    """Ask what the augmenter does, see `HistoryQueries.augment`."""
    return RetrievalQuery(
        "augment",
        _history_requests(history),
        lambda parts: [*chain.from_iterable(map(read.augmented_histories, parts))],
    )


def _history_requests(history: Items) -> list[Arrays]:
    histories = as_histories("history", history)
    return [{"history": padded_batch(histories[part])} for part in _parts(len(histories))]


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


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, BATCH_SIZE):
        yield slice(start, start + BATCH_SIZE)
