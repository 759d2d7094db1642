"""Recommendations for many histories at once, from a SavedModel in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.loaded_model import LoadedModel

BATCH_SIZE = 256


def recommend_in_batches(
    model: LoadedModel,
    histories: Sequence[Sequence[str]],
    *,
    k: int = 10,
    exclude_history: bool = True,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Ask for each history what `retrieve` recommends, as a server would answer.

    Histories of like length go together, so that little padding is computed.

    Args:
        model: a version with the signature `retrieve`.
        histories: item strings, oldest first.
        k: items a history. Default: 10.
        exclude_history: leave out the items of the history. Default: True.
        batch_size: histories at a time. Default: 256.

    Yields:
        The places in `histories` of a batch, `[B]` int64, and its answers: `item_ids` `[B, k]` bytes (`b""` in a slot
        that is not filled), `scores` `[B, k]` float32, `filled` `[B]` and `unknown` `[B]` int32.

    Raises:
        ServingError: the version has no such signature, or refuses the arguments.

    Example:
        >>> model = LoadedModel(Path("saved_models/shop/1"))  # doctest: +SKIP
        >>> [rows.tolist() for rows, _ in recommend_in_batches(model, [["tent"], ["rope"]])]  # doctest: +SKIP
        [[0, 1]]
    """
    order = np.argsort([len(history) for history in histories], kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        inputs = {
            "history": padded_batch([histories[row] for row in rows]),
            "k": np.array([k], np.int32),
            "exclude_history": np.array([exclude_history]),
        }
        yield rows, model.run("retrieve", inputs)
