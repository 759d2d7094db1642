"""Questions to a retriever: the requests they make and how the answers are read, whoever carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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

# More histories than this are asked in several requests.
BATCH_SIZE = 256
MAX_K = 2**31 - 1
Items: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
Arrays: TypeAlias = Mapping[str, np.ndarray]
Answer = TypeVar("Answer")


# FOLDED: From the outputs of signatures to the results that a caller gets.
# FOLDED:
# FOLDED: Each function takes outputs by name: strings are object arrays of bytes, `""` is padding. A missing output is an
# FOLDED: `InputError`.
def recommendations(outputs: Mapping[str, np.ndarray]) -> list[Recommendation]:
    """Read what `retrieve` answers to one request, a row for each history."""
    unknown = _output(outputs, "unknown")
    return [Recommendation(*_slots(outputs, row), unknown=int(unknown[row])) for row in range(len(unknown))]


def similar_items(items: Sequence[str], parts: Sequence[Mapping[str, np.ndarray]]) -> list[SimilarItems]:
    """Read what `similar_items` answers to all requests, of which each has the next of the items."""
    rows = [(outputs, row) for outputs in parts for row in range(len(_output(outputs, "known")))]
    return [
        SimilarItems(item, *_slots(outputs, row), known=bool(outputs["known"][row]))
        for item, (outputs, row) in zip(items, rows, strict=True)
    ]


def history_vectors(parts: Sequence[Mapping[str, np.ndarray]]) -> HistoryVectors:
    """Read what `embed_history` answers to all requests."""
    unknown = np.concatenate([_output(outputs, "unknown") for outputs in parts])
    return HistoryVectors(
        np.concatenate([_output(outputs, "user_vectors") for outputs in parts]), tuple(unknown.tolist())
    )


def item_vectors(parts: Sequence[Mapping[str, np.ndarray]]) -> ItemVectors:
    """Read what `embed_items` answers to all requests."""
    known = np.concatenate([_output(outputs, "known") for outputs in parts])
    return ItemVectors(np.concatenate([_output(outputs, "item_vectors") for outputs in parts]), tuple(known.tolist()))


def rankings(candidates: Sequence[Sequence[str]], parts: Sequence[Mapping[str, np.ndarray]]) -> list[Ranking]:
    """Read what `rank` answers to all requests, of which each has the next lists of candidates."""
    rows = [
        (scores, int(unknown))
        for outputs in parts
        for scores, unknown in zip(_output(outputs, "scores"), _output(outputs, "unknown"), strict=True)
    ]
    answers = []
    for items, (scores, unknown) in zip(candidates, rows, strict=True):
        order = np.argsort(-scores[: len(items)], kind="stable")
        answers.append(Ranking(tuple(items[i] for i in order), tuple(scores[order].tolist()), unknown))
    return answers


def augmented_histories(outputs: Mapping[str, np.ndarray]) -> list[AugmentedHistory]:
    """Read what `augment` answers to one request, a row for each history."""
    return [_augmented(outputs, row) for row in range(len(_output(outputs, "history")))]


def _augmented(outputs: Mapping[str, np.ndarray], row: int) -> AugmentedHistory:
    history = _strings(outputs["history"][row])
    length = len(history)
    return AugmentedHistory(
        history=history,
        operations=_strings(_output(outputs, "operations")[row]),
        probabilities=tuple(
            (keep, delete, insert) for keep, delete, insert in _output(outputs, "probabilities")[row, :length].tolist()
        ),
        inserted=tuple(_strings(run) for run in _output(outputs, "inserted")[row, :length]),
        edited_history=_strings(_output(outputs, "edited_history")[row]),
        unknown=int(_output(outputs, "unknown")[row]),
    )


def _slots(outputs: Mapping[str, np.ndarray], row: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
    filled = int(_output(outputs, "filled")[row])  # fewer than slots when fewer items are eligible
    items, scores = _output(outputs, "item_ids")[row, :filled], _output(outputs, "scores")[row, :filled]
    return _strings(items), tuple(scores.tolist())


def _output(outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in outputs:
        raise InputError(
            f"The model's answer has no output {name!r}, only {', '.join(sorted(outputs)) or 'none'}: it was exported "
            "by another version of laclrec-tf. Export it again."
        )
    return outputs[name]


def _strings(padded: np.ndarray) -> tuple[str, ...]:
    return tuple(item.decode("utf-8") for item in padded if item)


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
    return RetrievalQuery("retrieve", requests, lambda parts: [*chain.from_iterable(map(recommendations, parts))])


def similar_items_query(items: Sequence[str], k: int) -> RetrievalQuery[list[SimilarItems]]:
    """Ask for the neighbours of items, see `HistoryQueries.similar_items`."""
    asked = as_items("items", items)
    requests = [{"items": _column(asked[part]), "k": _checked_k(k)} for part in _parts(len(asked))]
    return RetrievalQuery("similar_items", requests, lambda parts: similar_items(asked, parts))


def embed_history_query(history: Items) -> RetrievalQuery[HistoryVectors]:
    """Ask for the vectors of histories, see `HistoryQueries.embed_history`."""
    return RetrievalQuery("embed_history", _history_requests(history), history_vectors)


def embed_items_query(items: Sequence[str]) -> RetrievalQuery[ItemVectors]:
    """Ask for the vectors of items, see `HistoryQueries.embed_items`."""
    asked = as_items("items", items)
    requests = [{"items": _column(asked[part])} for part in _parts(len(asked))]
    return RetrievalQuery("embed_items", requests, item_vectors)


def rank_query(history: Items, candidates: Items) -> RetrievalQuery[list[Ranking]]:
    """Ask for scores of candidates, see `HistoryQueries.rank`."""
    histories = as_histories("history", history)
    given = _one_or_each("candidates", candidates, histories)
    rows = given * len(histories) if len(given) == 1 else given
    requests = [
        {"history": padded_batch(histories[part]), "candidates": padded_batch(rows[part])}
        for part in _parts(len(histories))
    ]
    return RetrievalQuery("rank", requests, lambda parts: rankings(rows, parts))


def augment_query(history: Items) -> RetrievalQuery[list[AugmentedHistory]]:
    """Ask what the augmenter does, see `HistoryQueries.augment`."""
    return RetrievalQuery(
        "augment",
        _history_requests(history),
        lambda parts: [*chain.from_iterable(map(augmented_histories, parts))],
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
