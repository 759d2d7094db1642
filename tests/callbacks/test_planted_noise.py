"""Planted noise, watched over the epochs and drawn."""

from __future__ import annotations

import keras
import numpy as np
from PIL import Image

from laclrec_tf.callbacks.planted_noise import PlantedNoiseWatch
from laclrec_tf.data.simulated import planted_ids
from laclrec_tf.evaluation.augmenter_repairs import Deletions
from laclrec_tf.evaluation.augmenter_report import plot_sharpening, plot_view_map
from laclrec_tf.evaluation.views import ViewVectors
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec

HISTORIES = [[("tent", False), ("kayak", True), ("stove", False)], [("stove", True)]]
VOCABULARY = ItemVocabulary(["kayak", "tent", "stove"])


def test_planted_histories_as_ids_and_marks():
    ids, is_noise = planted_ids(HISTORIES, VOCABULARY)
    assert [history.tolist() for history in ids] == [[2, 1, 3], [3]]
    assert is_noise.tolist() == [False, True, False, True] and is_noise.dtype == bool


def test_each_epoch_is_kept_as_the_model_stood_then_and_nothing_is_changed():
    model = LACLRec(3, width=8, seed=1)
    watch = PlantedNoiseWatch(HISTORIES, VOCABULARY)
    watch.set_model(model)
    before = [np.array(variable) for variable in model.variables]
    watch.on_epoch_end(0)
    model.augmenter.operation_head.bias.assign([0.0, 50.0, 0.0])  # as if it had learnt to delete
    watch.on_epoch_end(1)
    first, second = watch.epochs
    assert first.is_noise.tolist() == second.is_noise.tolist() == [True, False, True, False]  # the shortest first
    assert np.all(first.probabilities < 0.999) and np.all(second.probabilities > 0.999)
    assert second.decided.all() and second.summary()["precision"] == 0.5
    changed = [
        name for name, old in zip(_names(model), before, strict=True) if not np.array_equal(old, _named(model, name))
    ]
    assert changed == [model.augmenter.operation_head.bias.path]


def test_the_plots_are_small_pictures_with_something_in_them(tmp_path):
    marks = np.array([True, False, False])
    epochs = [Deletions(np.array([0.2, 0.2, 0.1]), np.zeros(3, bool), marks)] * 2
    epochs.append(Deletions(np.array([0.9, 0.1, 0.0]), marks, marks))
    plot_sharpening(epochs, tmp_path / "sharpening.png", joint_from=3)
    vectors = np.random.default_rng(0).normal(size=(50, 2))
    plot_view_map(ViewVectors(vectors, vectors + 0.1, -vectors), 0.5, tmp_path / "map.png")
    for name in ("sharpening.png", "map.png"):
        picture = Image.open(tmp_path / name)
        assert picture.width == 720
        assert 10 < len(picture.convert("RGB").getcolors(256)) <= 64
        assert (tmp_path / name).stat().st_size < 40_000


def _names(model: keras.Model) -> list[str]:
    return [variable.path for variable in model.variables]


def _named(model: keras.Model, name: str) -> np.ndarray:
    return np.array(next(variable for variable in model.variables if variable.path == name))
