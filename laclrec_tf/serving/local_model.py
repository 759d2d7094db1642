"""A SavedModel on disk, asked without a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.queries import HistoryQueries
from laclrec_tf.serving.loaded_model import LoadedModel
from laclrec_tf.serving.serving_error import ServingError
from laclrec_tf.serving.version.folder import version_folder


class LocalModel(HistoryQueries):
    """`RetrievalClient`'s questions, answered by a SavedModel folder in this process.

    Args:
        path: `saved_models/NAME`, of which the newest version is taken, or `saved_models/NAME/VERSION`.

    Raises:
        InputError: there is no SavedModel, or a damaged one.

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
        """What may be asked, in alphabetical order."""
        return tuple(self._model.signature_names)

    def _predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self._model.run(signature, inputs)
        except ServingError as error:
            raise InputError(f"{self.folder}: {error.message}") from error

    def __repr__(self) -> str:
        return f"LocalModel({str(self.folder)!r})"
