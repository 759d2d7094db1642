"""The questions one can ask a retriever, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.history_batch import as_histories, padded_batch
from laclrec_tf.serving.recommendation import AugmentedHistory, Recommendation

# More histories than this are asked in several requests.
BATCH_SIZE = 256
MAX_K = 2**31 - 1


class HistoryQueries(ABC):
    """`recommend` and `augment` over histories of any number and length."""

    def recommend(
        self,
        history: Sequence[str] | Sequence[Sequence[str]],
        k: int = 10,
        exclude: Sequence[str] | Sequence[Sequence[str]] = (),
    ) -> list[Recommendation]:
        """Recommend the next items; those of the history never come.

        Args:
            history: item ids, oldest first, or a list of such histories. Unknown items are skipped. A history
                without a known item, such as `[]`, gets the most popular items.
            k: how many items. Default: 10.
            exclude: item ids never to recommend, or one such list for each history. Default: none.

        Returns:
            One `Recommendation` for each history; a single history gives a list of one.

        Raises:
            InputError: an argument is out of its range, or the answer is an error.
        """
        histories = as_histories("history", history)
        exclusions = as_histories("exclude", exclude)
        if k < 1:
            raise InputError(f"Argument `k` must be at least 1. Received: k={k}.")
        if len(exclusions) not in (1, len(histories)):
            raise InputError(
                "Argument `exclude` must be one list of item ids, or one for each history. "
                f"Received: {len(exclusions)} lists for {len(histories)} histories."
            )
        answers = []
        for part in _parts(len(histories)):
            outputs = self._predict(
                "retrieve",
                {
                    "history": padded_batch(histories[part]),
                    "k": np.array(min(k, MAX_K), np.int32),
                    "exclude": padded_batch(exclusions if len(exclusions) == 1 else exclusions[part]),
                    "allow": np.empty((1, 0), object),
                    "exclude_history": np.array(True),
                },
            )
            for items, scores in zip(outputs["item_ids"], outputs["scores"], strict=True):
                names = _strings(items)  # fewer than slots when fewer are eligible
                answers.append(Recommendation(names, tuple(scores[: len(names)].tolist())))
        return answers

    def augment(self, history: Sequence[str] | Sequence[Sequence[str]]) -> list[AugmentedHistory]:
        """Ask what the learned augmenter does to histories.

        Args:
            history: item ids, oldest first, or a list of such histories. Unknown items are skipped.

        Returns:
            One `AugmentedHistory` for each history; a single history gives a list of one.

        Raises:
            InputError: an argument is wrong, the model has no augmenter, or the answer is an error.
        """
        histories = as_histories("history", history)
        answers = []
        for part in _parts(len(histories)):
            outputs = self._predict("augment", {"history": padded_batch(histories[part])})
            answers += [_augmented(outputs, row) for row in range(len(outputs["history"]))]
        return answers

    @abstractmethod
    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call a signature; strings are object arrays of bytes both ways."""


def _parts(n_histories: int) -> Iterator[slice]:
    for start in range(0, n_histories, BATCH_SIZE):
        yield slice(start, start + BATCH_SIZE)


def _augmented(outputs: Mapping[str, np.ndarray], row: int) -> AugmentedHistory:
    history = _strings(outputs["history"][row])
    length = len(history)
    return AugmentedHistory(
        history=history,
        operations=_strings(outputs["operations"][row]),
        probabilities=tuple(
            (keep, delete, insert) for keep, delete, insert in outputs["probabilities"][row, :length].tolist()
        ),
        inserted=tuple(_strings(run) for run in outputs["inserted"][row, :length]),
        edited_history=_strings(outputs["edited_history"][row]),
    )


def _strings(padded: np.ndarray) -> tuple[str, ...]:
    return tuple(item.decode("utf-8") for item in padded if item)
