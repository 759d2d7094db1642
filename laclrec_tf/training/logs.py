"""The logs of a training: a CSV file of its epochs, and TensorBoard's event files."""

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

from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.callbacks.boards import AugmenterBoard, ItemProjector
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
        "share of events cut off the learned view": ["epoch_cut_rate"],
        "repairs of broken histories": ["epoch_(deletion_precision|deletion_recall|insertion_accuracy)"],
    },
    "views": {
        "s(raw, learned) and s(raw, random)": ["epoch_similarity_raw_(learned|random)"],
        "share of histories where the learned view is nearer": ["epoch_triplet_accuracy"],
        "alignment and uniformity of user vectors": ["epoch_alignment", "epoch_uniformity"],
    },
}


@dataclass(frozen=True)
class TrainingLogs:
    """The callbacks that write a run's logs.

    Args:
        out: run folder.
        tensorboard: folder of TensorBoard's logs: `strict/`, `refit/`, each with `train`, `validation` and `augmenter`,
            and `strict-pretraining/`, `refit-pretraining/`. If it is in `out`, its logs belong to this training alone,
            so logs of epochs that are trained again are deleted; elsewhere only if the training resumes.
        vocabulary: the items.
        resumed: whether the training resumes from a checkpoint.
        boards: whether to log histograms, edited histories and item vectors, which take about a second each epoch.
            Default: True.
    """

    out: Path
    tensorboard: Path
    vocabulary: ItemVocabulary
    resumed: bool
    boards: bool = True

    def pretraining(
        self, part: Protocol, histories: Sequence[np.ndarray], epochs_done: int, steps: int
    ) -> list[keras.callbacks.Callback]:
        """Return the callbacks for the augmenter's pretraining.

        Args:
            part: "strict" or "refit".
            histories: per user `[n]` int32 ids that are trained on.
            epochs_done: number of epochs before a resume.
            steps: number of batches of an epoch.
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
        """Return the callbacks for the training. Place them after those that extend the epoch's logs.

        Args:
            part: "strict" or "refit".
            model: the model to train.
            histories: per user `[n]` int32 ids that this worker trains on.
            counts: `[N]`, number of events of each item that all workers train on.
            epochs_done: number of epochs before a resume.
            steps: number of batches of an epoch.
            watch: callback whose warnings TensorBoard shows, if there is one.
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


def keep_events(folder: Path, epochs: int, steps_per_epoch: int) -> None:
    """Delete the events of later epochs from the event files below a folder, and files that are then empty.

    The last event of a file is also deleted if a killed process left it incomplete.

    Args:
        folder: folder of one part of a training; may be missing.
        epochs: number of epochs to keep.
        steps_per_epoch: number of batches of an epoch, for Keras's curves over optimizer steps.
    """
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        anything = False
        delete_partial_files(file.parent, file.name)
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


def _keep_rows(file: Path, epochs: int) -> None:
    """Delete the rows of epochs that are trained again."""
    if not file.exists():  # a mounted bucket receives a file when it is closed; a killed process closes none
        return
    with file.open(newline="", encoding="utf-8") as rows:
        header, *lines = list(csv.reader(line.replace("\0", "") for line in rows)) or [[]]
    with atomic_write(file) as partial, partial.open("w", newline="", encoding="utf-8") as rows:
        whole = [line for line in lines if len(line) == len(header) and line[0].isdecimal()]  # the last may be cut off
        csv.writer(rows).writerows([header, *(line for line in whole if int(line[0]) < epochs)] if header else [])


def write_scalar_layout(folder: Path) -> None:
    """Write the layout of TensorBoard's custom charts.

    Args:
        folder: folder of the event file.
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
    """Read a run's `epochs-strict.csv` and `epochs-refit.csv`, if they exist.

    Args:
        run: run folder.

    Returns:
        By "strict" and "refit", by column the values of the epochs. A run made by `laclrec-tf grow` has none.

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
            # Without a validation Keras writes its columns, too, with NA.
            names = [name for name in (lines[0] if lines else {}) if any(line[name] != "NA" for line in lines)]
            found[part] = {name: [float(line[name]) for line in lines] for name in names}
        except (ValueError, TypeError, KeyError, csv.Error):
            raise InputError(f"{file} is damaged. Delete it to continue without its curves.") from None
    return {part: columns for part, columns in found.items() if columns}
