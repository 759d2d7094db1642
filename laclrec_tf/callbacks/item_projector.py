"""A callback that writes item vectors with their names for TensorBoard's embedding projector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from laclrec_tf.item_vocabulary import ItemVocabulary

MAX_ITEMS = 10_000
_CONFIG = """embeddings {
  tensor_name: "item vectors"
  tensor_path: "item_vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""


class ItemProjector(keras.callbacks.Callback):
    """Write the vectors of the 10,000 most frequent items after the first epoch and at the end of training.

    The files are `projector_config.pbtxt`, `item_vectors.tsv` and `metadata.tsv`.

    Place this callback after the one that restores the best weights at the end of training.

    Args:
        folder: folder of one TensorBoard run.
        vocabulary: the items.
        counts: `[N]`, number of training events of each item.
        max_items: max number of items to write. Default: 10,000.
    """

    def __init__(
        self, folder: Path, vocabulary: ItemVocabulary, counts: np.ndarray, max_items: int = MAX_ITEMS
    ) -> None:
        super().__init__()
        self.folder = folder
        places = np.argsort(-counts, kind="stable")[:max_items]
        self.item_ids = 1 + places
        self.items = vocabulary.to_items(self.item_ids.tolist())
        self.counts = counts[places].tolist()
        self._is_written = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the vectors after the first epoch."""
        if not self._is_written:
            self._write()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the final vectors."""
        self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [" ".join(item.split()) for item in self.items]  # a tab would start a column
        lines = [f"{name}\t{count}\n" for name, count in zip(names, self.counts, strict=True)]
        (self.folder / "metadata.tsv").write_text("item\tevents\n" + "".join(lines), encoding="utf-8")
        vectors = ops.convert_to_numpy(ops.take(self.model.item_vectors, self.item_ids, axis=0))  # [P, D]
        np.savetxt(self.folder / "item_vectors.tsv", vectors, fmt="%.3g", delimiter="\t")
        (self.folder / "projector_config.pbtxt").write_text(_CONFIG, encoding="utf-8")
        self._is_written = True
