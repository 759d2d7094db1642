"""TensorBoard's logs, read back: those of a run, and those that remain when epochs are trained again."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from laclrec_tf.training.logs import CHARTS, keep_events, run_epochs


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def values(events, tag):
    return [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]


def steps(folder, tag):
    return [event.step for event in read(folder).Tensors(tag)]


def logged(run):
    with (run.folder / "epochs-strict.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_curve_of_the_layout_is_logged(laclrec_run):
    board = laclrec_run.folder / "tensorboard"
    (proto,) = values(read(board / "layout"), "custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(proto.item())
    assert [category.title for category in layout.category] == list(CHARTS)
    tags = [tag for part in ("train", "validation") for tag in read(board / "strict" / part).Tags()["tensors"]]
    for category in layout.category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.match(pattern, tag) for tag in tags), pattern


def test_curves_have_the_values_of_the_epochs(laclrec_run):
    events = read(laclrec_run.folder / "tensorboard/strict/train")
    for name in ("keep_rate", "similarity_raw_learned", "gradient_ratio/augmenter_loss", "augmenter_collapsed"):
        expected = [float(row[name]) for row in logged(laclrec_run)]
        assert np.ravel(values(events, f"epoch_{name}")) == pytest.approx(expected)


def test_a_run_without_augmenter_has_its_curves_and_items(sasrec_run):
    board = sasrec_run.folder / "tensorboard/strict"
    assert sorted(folder.name for folder in board.iterdir()) == ["train", "validation"]
    assert (board / "train/metadata.tsv").exists()


def test_events_of_epochs_that_are_trained_again_are_deleted(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        for epoch in range(3):
            tf.summary.scalar("epoch_loss", 1.0, step=epoch)
            tf.summary.scalar("evaluation_loss_vs_iterations", 1.0, step=10 * (epoch + 1))
    (file,) = (tmp_path / "train").iterdir()
    file.write_bytes(file.read_bytes() + b"half an event")  # of a process that was killed
    keep_events(tmp_path, 2, steps_per_epoch=10)
    assert steps(tmp_path / "train", "epoch_loss") == [0, 1]
    assert steps(tmp_path / "train", "evaluation_loss_vs_iterations") == [10, 20]
    keep_events(tmp_path, 0, steps_per_epoch=10)
    assert not list((tmp_path / "train").iterdir())


def test_a_training_without_validation_has_no_curves_of_it(tmp_path):
    (tmp_path / "epochs-refit.csv").write_text("epoch,loss,val_ndcg@10\n0,2.5,NA\n1,1.5,NA\n")
    assert run_epochs(tmp_path) == {"refit": {"epoch": [0, 1], "loss": [2.5, 1.5]}}
