"""The augmenter's report of a small run, its numbers recomputed history by history."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from laclrec_tf.cli.measuring import augmenter_table
from laclrec_tf.data.corruption import corrupt
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_repairs import Deletions
from laclrec_tf.evaluation.augmenter_report import augmenter_report, plot_sharpening, plot_view_map
from laclrec_tf.evaluation.views import ViewVectors
from laclrec_tf.ops.edits import DELETE


@pytest.fixture(scope="module")
def report(laclrec_run, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports") / "augmenter"
    found = augmenter_report(laclrec_run.folder, out, truth=data.parent / "events.truth.csv", seed=4)
    assert sorted(file.name for file in out.iterdir()) == [
        "augmenter.json", "insertions.png", "operations.png", "planted_noise.png", "views.png"
    ]  # fmt: skip
    assert json.loads((out / "augmenter.json").read_text()) == found
    return found


def test_the_numbers_are_those_of_the_models_decisions(laclrec_run, report):
    """Recomputed history by history."""
    histories = [before for history in laclrec_run.data.histories()[1] if (before := held_out(history, "validation"))]
    histories = sorted((before for before, _ in histories), key=len)
    assert report["histories"] == len(histories) == 150 and len(histories) < 256, "one batch, so one seed"
    padded = np.zeros([150, max(map(len, histories))], np.int32)
    for row, history in enumerate(histories):
        padded[row, : len(history)] = history
    model = laclrec_run.model
    corrupted, operations, insertions = corrupt(
        tf.constant(padded), n_items=model.n_items, seed=tf.constant([4, 0], tf.int64)
    )
    edits = model.augmenter.edit(model.encoder, corrupted)  # `model.edit` would cut them to `max_length`
    real = corrupted.numpy() > 0
    deleted, noise = (edits.operations.numpy() == DELETE)[real], (operations.numpy() == DELETE)[real]
    deletions = report["deletions"]
    assert deletions["events"] == real.sum() and deletions["noise_events"] == noise.sum() > 0
    assert deletions["deleted_events"] == deleted.sum() > 0
    assert deletions["recall"] == pytest.approx((deleted & noise).sum() / noise.sum())

    # Missing items that come first in their run, which the generator ranks without a following one.
    inserting = np.argwhere(insertions.numpy()[:, :, 0] > 0)
    assert report["insertions"]["missing_items"] == np.sum((insertions.numpy() > 0) & (insertions.numpy() <= 150))
    assert len(inserting) > 100


def test_planted_noise_is_counted_over_all_test_histories(data, report):
    truth = [line.split(",") for line in (data.parent / "events.truth.csv").read_text().splitlines()]
    header, rows = truth[0], truth[1:]
    user, noise, time = (header.index(name) for name in ("user_id", "is_noise", "timestamp"))
    by_user: dict[str, list[list[str]]] = {}
    for row in rows:
        by_user.setdefault(row[user], []).append(row)
    seen = [row for events in by_user.values() for row in sorted(events, key=lambda row: int(row[time]))[:-1][-50:]]
    assert report["planted_noise"]["events"] == len(seen)
    assert report["planted_noise"]["noise_events"] == sum(row[noise] == "true" for row in seen)


def test_views_are_described(report):
    views = report["views"]
    assert -1 <= views["cosine_raw_random"] <= 1 and 0 <= views["learned_is_nearer"] <= 1
    assert 0 <= views["learned_is_raw"] <= 1


def test_the_table_shows_the_numbers(report):
    cells = [str(cell) for column in augmenter_table(report).columns for cell in column.cells]
    assert f"{report['deletions']['recall']:.3f}" in cells
    assert f"{report['insertions']['hit@10']:.4f}" in cells
    assert f"{report['planted_noise']['good_lost']:.4f}" in cells


def test_a_model_without_augmenter_is_refused(sasrec_run, tmp_path):
    with pytest.raises(InputError, match=r"has no trained augmenter \(preset sasrec\)"):
        augmenter_report(sasrec_run.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_overwritten(laclrec_run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already and is not overwritten"):
        augmenter_report(laclrec_run.folder, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read .*truth.csv as the truth of simulated events.*Give the .truth.csv file"),
        ("user_id,item_id,timestamp\nu,i,1\n", "columns user_id, item_id, timestamp, is_noise"),
        ("user_id,item_id,timestamp,is_noise\nu,other,1,true\nu,other,2,true\n", "No item of .*truth.csv is in"),
    ],
)
def test_an_invalid_truth_is_named_and_leaves_nothing(laclrec_run, tmp_path, content, message):
    file = tmp_path / "truth.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message):
        augmenter_report(laclrec_run.folder, tmp_path / "out", truth=file)
    assert not (tmp_path / "out").exists()


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
