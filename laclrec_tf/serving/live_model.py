"""A retriever that is in memory, asked as a server is asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.queries import HistoryQueries
from laclrec_tf.serving.operation_error import operation_reason
from laclrec_tf.serving.retriever.retriever import Retriever


class LiveModel(HistoryQueries):
    """`RetrievalClient`'s questions, answered by a retriever that need not be exported.

    The signatures that answer are the ones that an export saves, so a server gives the same answers.

    Args:
        retriever: whose signatures are asked.

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
        """What may be asked, in alphabetical order."""
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
