"""Item vectors with their names for TensorBoard's embedding projector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from laclrec_tf.item_vocabulary import ItemVocabulary

MOST_ITEMS = 10_000
_CONFIG = """embeddings {
  tensor_name: "item vectors"
  tensor_path: "item_vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""


def write_item_projector(folder: Path, vectors: np.ndarray, items: Sequence[str], counts: Sequence[int]) -> None:
    """Write `projector_config.pbtxt`, `item_vectors.tsv` and `metadata.tsv`.

    Args:
        folder: a run of TensorBoard's.
        vectors: `[P, D]` float.
        items: `[P]` names.
        counts: `[P]`, how often each was trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [" ".join(item.split()) for item in items]  # a tab would begin a column
    lines = [f"{name}\t{count}\n" for name, count in zip(names, counts, strict=True)]
    (folder / "metadata.tsv").write_text("item\tevents\n" + "".join(lines), encoding="utf-8")
    np.savetxt(folder / "item_vectors.tsv", vectors, fmt="%.3g", delimiter="\t")
    (folder / "projector_config.pbtxt").write_text(_CONFIG, encoding="utf-8")


class ItemProjector(keras.callbacks.Callback):
    """Write the vectors of the 10,000 most frequent items after the first epoch, to be looked at soon, and at the end.

    Place it behind what puts the best weights back at the end of training.

    Args:
        folder: a run of TensorBoard's.
        vocabulary: the items.
        counts: `[N]`, how often each was trained on.
        most: items written. Default: 10,000.
    """

    def __init__(self, folder: Path, vocabulary: ItemVocabulary, counts: np.ndarray, most: int = MOST_ITEMS) -> None:
        super().__init__()
        self.folder = folder
        places = np.argsort(-counts, kind="stable")[:most]
        self.item_ids = 1 + places
        self.items = vocabulary.to_items(self.item_ids.tolist())
        self.counts = counts[places].tolist()
        self._is_written = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write for the first time."""
        if not self._is_written:
            self._write()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the final vectors."""
        self._write()

    def _write(self) -> None:
        vectors = ops.convert_to_numpy(ops.take(self.model.item_vectors, self.item_ids, axis=0))
        write_item_projector(self.folder, vectors, self.items, self.counts)
        self._is_written = True
