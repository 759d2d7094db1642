"""What a training leaves to be watched: a CSV file of its epochs, TensorBoard's logs, its best weights so far."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar import layout_pb2, summary

from laclrec_tf.callbacks.augmenter_board import AugmenterBoard
from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.callbacks.item_projector import ItemProjector
from laclrec_tf.data.splits import Protocol
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from laclrec_tf.runtime.output_files import atomic_write, delete_partial_files

_COUNTS_STEPS = "vs_iterations"
CHARTS = {
    "quality": {
        "validation recall and NDCG at 10": ["epoch_recall@10", "epoch_ndcg@10"],
        "losses": ["epoch_loss", "epoch_.*_loss"],
        "gradient norms relative to the next-item loss": ["epoch_gradient_ratio/.*"],
    },
    "augmenter": {
        "operations on real histories": ["epoch_(keep|delete|insert)_rate", "epoch_augmenter_collapsed"],
        "mean edited length": ["epoch_edited_length"],
        "repairs of broken histories": ["epoch_(deletion_precision|deletion_recall|insertion_accuracy)"],
    },
    "views": {
        "s(raw, learned) and s(raw, random)": ["epoch_similarity_raw_(learned|random)"],
        "share of histories where the learned view is nearer": ["epoch_triplet_accuracy"],
        "alignment and uniformity of user vectors": ["epoch_alignment", "epoch_uniformity"],
    },
}


def keep_events(folder: Path, epochs: int, steps_per_epoch: int) -> None:
    """Rewrite the event files below a folder without those of later epochs; a file without any other goes.

    An event cut off by a kill, the last one of its file, is dropped too.

    Args:
        folder: of one part of a training; may be missing.
        epochs: how many stay.
        steps_per_epoch: for Keras's curves over optimizer steps.
    """
    delete_partial_files(folder, "events.out.tfevents.*")
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        anything = False
        with atomic_write(file) as partial, tf.io.TFRecordWriter(str(partial)) as out:
            for record in RawEventFileLoader(str(file)).Load():
                event = Event.FromString(record)
                values = [value for value in event.summary.value]
                limit = epochs * steps_per_epoch + 1 if _counts_steps(event) else epochs
                if not values or event.step < limit:
                    out.write(record)
                    anything |= bool(values)
        if not anything:
            file.unlink()


def _counts_steps(event: Event) -> bool:
    return any(_COUNTS_STEPS in value.tag for value in event.summary.value)


def write_scalar_layout(folder: Path) -> None:
    """Write the layout as an event of its own run.

    Args:
        folder: of the event file.
    """
    layout = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(
                        title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
                    )
                    for title, tags in charts.items()
                ],
            )
            for category, charts in CHARTS.items()
        ]
    )
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.pb(layout).SerializeToString(), step=0)
    writer.close()


def run_epochs(run: Path) -> dict[str, dict[str, list[float]]]:
    """Read `epochs-strict.csv` and `epochs-refit.csv`, those that are there.

    Args:
        run: a run folder.

    Returns:
        By "strict" and "refit", by name the value of each epoch. A run that was grown has none.

    Raises:
        InputError: a file is damaged.
    """
    found = {}
    for part in ("strict", "refit"):
        file = run / f"epochs-{part}.csv"
        if not file.exists():
            continue
        try:
            with file.open(newline="", encoding="utf-8") as rows:
                lines = list(csv.DictReader(rows))
            found[part] = {name: [float(line[name]) for line in lines] for name in (lines[0] if lines else {})}
        except (ValueError, TypeError, KeyError, csv.Error):
            raise InputError(f"{file} is damaged. Delete it to leave its curves out.") from None
    return {part: columns for part, columns in found.items() if columns}


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
    with atomic_write(file) as partial, partial.open("w", newline="", encoding="utf-8") as rows:
        whole = [line for line in lines if len(line) == len(header) and line[0].isdecimal()]  # power may have failed
        csv.writer(rows).writerows([header, *(line for line in whole if int(line[0]) < epochs)] if header else [])
