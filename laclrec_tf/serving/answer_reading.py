"""From the outputs of signatures to the results that a caller gets.

Each function takes outputs by name: strings are object arrays of bytes, `""` is padding. A missing output is an
`InputError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.recommendation import (
    AugmentedHistory,
    HistoryVectors,
    ItemVectors,
    Ranking,
    Recommendation,
    SimilarItems,
)


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
