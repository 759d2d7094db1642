"""Callbacks that show more than curves in TensorBoard: the augmenter's edits of histories, and the item vectors."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.evaluation.augmenter_edits import EditedHistory, EditedItem, edited_histories, likeliest_edits
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, OPERATION_NAMES
from laclrec_tf.ops.masking import pad_histories

MAX_WATCHED = 128
MAX_SHOWN = 3
MAX_ITEMS = 10_000
_MARKS = {"keep": "{}", "delete": "*\u2212{}*", "insert": "**+{}**"}
_MARKDOWN_SYNTAX = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:])")
_PROJECTOR_CONFIG = """embeddings {
  tensor_name: "item vectors"
  tensor_path: "item_vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""


class AugmenterBoard(keras.callbacks.Callback):
    """Write histograms of operation rates and edited lengths, three histories before and after editing, and warnings.

    The operations are the likeliest ones, whatever the model's `decision`. So nothing is sampled, and the training is
    the same without this callback.

    Args:
        folder: folder of the event file.
        histories: per user `[n]` int32 ids, oldest first; 128 of them are edited each epoch, three are shown.
        vocabulary: the items.
        watch: callback whose warnings are shown in addition. Default: None.
    """

    def __init__(
        self,
        folder: Path,
        histories: Sequence[np.ndarray],
        vocabulary: ItemVocabulary,
        watch: AugmenterWatch | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.vocabulary = vocabulary
        self.watch = watch
        self.watched = pad_histories(watched_histories(histories))
        self._writer: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Edit the watched histories and write the results."""
        history = tf.constant(self.watched)
        edits = likeliest_edits(self.model, history)
        operations, real = edits.operations.numpy(), self.watched > 0
        lengths = np.sum(real, axis=1)
        with self.writer.as_default(step=epoch):
            for operation, name in zip((KEEP, DELETE, INSERT), OPERATION_NAMES, strict=True):
                rates = np.sum((operations == operation) & real, axis=1) / lengths
                tf.summary.histogram(f"histories/{name}_rate", rates)
            tf.summary.histogram("histories/edited_length", np.sum(edits.edited.numpy() > 0, axis=1))
            first = type(edits)(*(part[:MAX_SHOWN] for part in edits))
            shown = edited_histories(self.watched[:MAX_SHOWN], first, self.vocabulary)
            tf.summary.text("histories before and after editing", histories_in_markdown(shown))
            if self.watch is not None and self.watch.warning is not None:
                tf.summary.text("warning", f"**{self.watch.warning}**")
        self.writer.flush()

    @property
    def writer(self) -> Any:
        """Writer of the event file, which is created with the first event."""
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder))
        return self._writer

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


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
        (self.folder / "projector_config.pbtxt").write_text(_PROJECTOR_CONFIG, encoding="utf-8")
        self._is_written = True


def watched_histories(histories: Sequence[np.ndarray], max_histories: int = MAX_WATCHED) -> list[np.ndarray]:
    """Select histories evenly spread over all, and put those of five to twelve items first, which are easy to read.

    Args:
        histories: per user `[n]` ids.
        max_histories: max number of histories. Default: 128.

    Example:
        >>> [len(history) for history in watched_histories([np.ones(n) for n in (2, 30, 0, 5)])]
        [5, 2, 30]
    """
    filled = [history for history in histories if len(history)]
    places = np.linspace(0, len(filled) - 1, min(max_histories, len(filled))).astype(int)
    chosen = [filled[place] for place in places]
    return sorted(chosen, key=lambda history: not 5 <= len(history) <= 12)


def histories_in_markdown(histories: Iterable[EditedHistory]) -> str:
    """Format histories as a table with a column before and one after editing; `-` marks deleted items, `+` inserted.

    Args:
        histories: edited histories, a row each.

    Example:
        >>> item = EditedItem("sku_1", "keep", 0.9)
        >>> print(histories_in_markdown([EditedHistory((item,), (EditedItem("b", "insert"), item))]))
        | before | after |
        | --- | --- |
        | sku\\_1 (90 %) | **+b**<br>sku\\_1 |
    """
    lines = ["| before | after |", "| --- | --- |"]
    for history in histories:
        before = "<br>".join(_text(item, with_probability=True) for item in history.before)
        after = "<br>".join(_text(item) for item in history.after)
        lines.append(f"| {before} | {after} |")
    return "\n".join(lines)


def _text(item: EditedItem, with_probability: bool = False) -> str:
    name = _MARKDOWN_SYNTAX.sub(r"\\\1", html.escape(" ".join(item.item.split()), quote=False))
    text = _MARKS[item.operation].format(name)
    return f"{text} ({100 * item.probability:.0f} %)" if with_probability and item.probability is not None else text
