"""What a training leaves to be watched: a CSV file of its epochs, TensorBoard's logs, its best weights so far."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from laclrec_tf.callbacks.augmenter_board import AugmenterBoard
from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.callbacks.item_projector import ItemProjector
from laclrec_tf.data.splits import Protocol
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from pipelines.kept_events import keep_events
from pipelines.scalar_layout import write_scalar_layout


@dataclass(frozen=True)
class TrainingLogs:
    """The logs of a run.

    Args:
        out: the run folder.
        tensorboard: where TensorBoard's logs go: `strict/`, `refit/`, each with `train`, `validation` and `augmenter`,
            and `strict-pretraining/`, `refit-pretraining/`. Logs in `out` are of this training alone, so whatever an
            earlier process left of epochs that are trained once more is dropped; elsewhere only when training goes on.
        vocabulary: the items.
        resumed: training goes on from a checkpoint.
        boards: also log what takes a moment each epoch: histograms, edited histories and item vectors. Default: True.
    """

    out: Path
    tensorboard: Path
    vocabulary: ItemVocabulary
    resumed: bool
    boards: bool = True

    def pretraining(
        self, part: Protocol, histories: Sequence[np.ndarray], epochs_done: int, steps: int
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks of the augmenter's own training.

        Args:
            part: "strict" or "refit".
            histories: that are trained on, per user `[n]` int32 ids.
            epochs_done: from which training goes on.
            steps: batches an epoch.
        """
        folder = self._folder(f"{part}-pretraining", epochs_done, steps)
        board = AugmenterBoard(folder / "augmenter", histories, self.vocabulary)
        return [self._scalars(folder), board] if self.boards else [self._scalars(folder)]

    def training(
        self,
        part: Protocol,
        model: LACLRec,
        histories: Sequence[np.ndarray],
        counts: np.ndarray,
        epochs_done: int,
        steps: int,
        watch: AugmenterWatch | None,
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks of the training proper; they read the logs, so what extends those stands before them.

        Args:
            part: "strict" or "refit".
            model: that is trained.
            histories: that are trained on here, per user `[n]` int32 ids.
            counts: `[N]` events of each item in what all workers train on.
            epochs_done: from which training goes on.
            steps: batches an epoch.
            watch: whose warnings TensorBoard shows.
        """
        folder = self._folder(part, epochs_done, steps)
        rows = self.out / f"epochs-{part}.csv"
        _keep_rows(rows, epochs_done)
        callbacks: list[keras.callbacks.Callback] = [
            keras.callbacks.CSVLogger(rows, append=epochs_done > 0),
            self._scalars(folder),
        ]
        if self.boards:
            callbacks.append(ItemProjector(folder / "train", self.vocabulary, counts))
        if self.boards and model.n_random_views and model.has_augmenter:
            callbacks.append(AugmenterBoard(folder / "augmenter", histories, self.vocabulary, watch))
        return callbacks

    def _scalars(self, folder: Path) -> keras.callbacks.Callback:
        return keras.callbacks.TensorBoard(folder, write_graph=False, profile_batch=0)

    def _folder(self, name: str, epochs_done: int, steps: int) -> Path:
        folder = self.tensorboard / name
        if self.resumed or self.tensorboard.is_relative_to(self.out):
            keep_events(folder, epochs_done, steps)
        layout = self.tensorboard / "layout"
        if not layout.exists():
            write_scalar_layout(layout)
        return folder


def _keep_rows(file: Path, epochs: int) -> None:
    """Drop the rows of epochs that are trained once more."""
    if not file.exists():  # a mounted bucket gets a file when it is closed, and the process may have been killed
        return
    with file.open(newline="", encoding="utf-8") as rows:
        header, *lines = list(csv.reader(line.replace("\0", "") for line in rows)) or [[]]
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as rows:
        whole = [line for line in lines if len(line) == len(header) and line[0].isdecimal()]  # power may have failed
        csv.writer(rows).writerows([header, *(line for line in whole if int(line[0]) < epochs)] if header else [])
    partial.rename(file)
