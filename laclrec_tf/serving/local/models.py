"""Models in this process that answer the queries that a server answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.queries import HistoryQueries
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.local.loaded_model import LoadedModel, operation_reason
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.version.folder import version_folder

BATCH_SIZE = 256


class LocalModel(HistoryQueries):
    """Answers the queries of `RetrievalClient` with a SavedModel folder, in this process.

    Args:
        path: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.

    Raises:
        InputError: there is no SavedModel, or it is damaged.

    Example:
        >>> model = LocalModel("saved_models/shop")  # doctest: +SKIP
        >>> model.recommend(["tent", "stove"], k=3)[0].item_ids  # doctest: +SKIP
        ('rope', 'lamp', 'mug')
    """

    def __init__(self, path: str | Path) -> None:
        """Load the model."""
        self._model = LoadedModel(version_folder(Path(path)))
        self.folder = self._model.folder

    @property
    def signature_names(self) -> tuple[str, ...]:
        """Names of the signatures, in alphabetical order."""
        return tuple(self._model.signature_names)

    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self._model.run(signature, inputs)
        except ServingError as error:
            raise InputError(f"{self.folder}: {error.message}") from error

    def __repr__(self) -> str:
        return f"LocalModel({str(self.folder)!r})"


class LiveModel(HistoryQueries):
    """Answers the queries of `RetrievalClient` with a retriever in memory, which need not be exported.

    An export saves the same signatures, so a server gives the same answers.

    Args:
        retriever: the retriever whose signatures are called.

    Example:
        >>> from laclrec_tf.item_vocabulary import ItemVocabulary
        >>> from laclrec_tf.models import LACLRec
        >>> vocabulary = ItemVocabulary(["tent", "stove"])
        >>> model = LiveModel(Retriever(LACLRec(n_items=2, width=8), vocabulary, np.array([3, 1])))
        >>> model.recommend(["tent"])[0].item_ids
        ('stove',)
    """

    def __init__(self, retriever: Retriever) -> None:
        """Take the signatures."""
        self._signatures = retriever.signatures
        self._retriever = retriever

    @property
    def signature_names(self) -> tuple[str, ...]:
        """Names of the signatures, in alphabetical order."""
        return tuple(sorted(self._signatures))

    def __repr__(self) -> str:
        return f"LiveModel({self._retriever!r})"

    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if signature not in self._signatures:
            raise InputError(f"The model has no signature '{signature}'. It has: {', '.join(self.signature_names)}.")
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        try:
            outputs = self._signatures[signature](**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{operation_reason(error)}.") from error
        return {name: output.numpy() for name, output in outputs.items()}


def recommend_in_batches(
    model: LoadedModel,
    histories: Sequence[Sequence[str]],
    *,
    k: int = 10,
    exclude_history: bool | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Call the signature `retrieve` for many histories.

    Histories of similar length share a batch, so that little padding is computed.

    Args:
        model: a version with the signature `retrieve`.
        histories: item strings, oldest first.
        k: number of items for each history. Default: 10.
        exclude_history: never recommend an item of the history. Default: as the model was trained.
        batch_size: number of histories in a batch. Default: 256.

    Yields:
        The places in `histories` of a batch, `[B]` int64, and its answers: `item_ids` `[B, k]` bytes (`b""` in an
        unfilled slot), `scores` `[B, k]` float32, `filled` `[B]` and `unknown` `[B]` int32.

    Raises:
        InputError: the version has no such signature, or rejects the arguments.

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
        }
        if exclude_history is not None:
            inputs["exclude_history"] = np.array([exclude_history])
        try:
            answers = model.run("retrieve", inputs)
        except ServingError as error:
            raise InputError(f"{model.folder} does not recommend: {error.message}. Export the model again.") from error
        yield rows, answers
