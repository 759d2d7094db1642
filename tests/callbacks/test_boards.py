"""What the boards write to TensorBoard, read back."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.histogram.metadata import PLUGIN_NAME as HISTOGRAMS
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.text.metadata import PLUGIN_NAME as TEXTS

from laclrec_tf.callbacks.augmenter_watch import AugmenterWatch
from laclrec_tf.callbacks.boards import AugmenterBoard, ItemProjector, watched_histories


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def values(events, tag):
    return [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]


def test_histograms_count_the_same_histories_and_three_are_shown(laclrec_run):
    events = read(laclrec_run.folder / "tensorboard/strict/augmenter")
    assert set(events.PluginTagToContent(HISTOGRAMS)) == {
        f"histories/{name}" for name in ("keep_rate", "delete_rate", "insert_rate", "edited_length")
    }
    for tag in events.PluginTagToContent(HISTOGRAMS):
        (buckets,) = values(events, tag)  # [bucket, (from, to, count)]
        assert buckets[:, 2].sum() == 128
    (tag,) = [tag for tag in events.PluginTagToContent(TEXTS) if "histories" in tag]
    (text,) = values(events, tag)
    header, _, *rows = text.item().decode().split("\n")
    assert header == "| before | after |" and len(rows) == 3


def test_the_board_shows_what_the_model_does_and_samples_nothing(laclrec_run, tmp_path):
    model, history = laclrec_run.model, np.array([3, 1, 4, 1, 5], np.int32)
    before = [np.array(variable) for variable in model.variables]
    board = AugmenterBoard(tmp_path, [history], laclrec_run.vocabulary)
    board.set_model(model)
    board.on_epoch_end(4)
    board.on_train_end()
    assert all(map(np.array_equal, before, model.variables))
    events = read(tmp_path)
    (event,) = events.Tensors("histories/edited_length")
    edited = model.edit(history[None]).edited.numpy()
    assert event.step == 4
    buckets = tf.make_ndarray(event.tensor_proto)
    assert buckets[0, 0] <= np.sum(edited > 0) <= buckets[-1, 1] and buckets[:, 2].sum() == 1


def test_a_collapse_is_a_text_in_tensorboard(laclrec_run, tmp_path):
    watch = AugmenterWatch()
    watch.warning = "Epoch 1: the augmenter keeps 99 % of the items"
    board = AugmenterBoard(tmp_path, [np.array([3, 1], np.int32)], laclrec_run.vocabulary, watch)
    board.set_model(laclrec_run.model)
    board.on_epoch_end(0)
    board.on_train_end()
    (text,) = values(read(tmp_path), "warning")
    assert text.item().decode() == f"**{watch.warning}**"


def test_histories_of_a_readable_length_come_first():
    histories = [np.ones(length) for length in (1, 5, 13, 12, 0)]
    assert [len(history) for history in watched_histories(histories)] == [5, 12, 1, 13]
    assert [len(history) for history in watched_histories(histories, max_histories=2)] == [12, 1]


def test_item_vectors_have_names_and_the_most_frequent_are_written(sasrec_run, tmp_path):
    counts = sasrec_run.popularity
    projector = ItemProjector(tmp_path, sasrec_run.vocabulary, counts, max_items=20)
    projector.set_model(sasrec_run.model)
    projector.on_train_end()
    (embedding,) = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    header, *lines = (tmp_path / embedding.metadata_path).read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    assert header == "item\tevents" and len(rows) == 20
    assert [int(count) for _, count in rows] == sorted(counts.tolist(), reverse=True)[:20]
    vectors = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
    ids = sasrec_run.vocabulary.to_ids(item for item, _ in rows)
    np.testing.assert_allclose(vectors, sasrec_run.model.item_vectors.numpy()[ids], rtol=0.01)
