"""Run folders that are damaged, incomplete, or whose data changed, are refused with one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import laclrec_tf
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_report import augmenter_report
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.report.report import report as write_report
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.release.export import export

PARTS = ("run.json", "model.keras", "vocabulary.txt", "popularity.npy")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", "{", "run.json is damaged"),
        ("run.json", '{"format_version": 5}', "run.json is damaged: it lacks 'trained_on'. Train again"),
        ("run.json", '{"format_version": 9}', "has run format 9, this version reads 5"),
        ("model.keras", "no zip file", "model.keras is missing or damaged"),
        ("popularity.npy", "", "popularity.npy is missing or damaged"),
        ("vocabulary.txt", "one\n", "popularity.npy is missing or damaged"),
    ],
)
def test_a_damaged_run_is_named(sasrec_run, tmp_path, file, content, message):
    for part in PARTS:
        (tmp_path / part).write_bytes((sasrec_run.folder / part).read_bytes())
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message):
        export(tmp_path, tmp_path / "shop")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PARTS)


@pytest.mark.parametrize(
    "use",
    [
        lambda run, out: export(run, out / "shop"),
        lambda run, out: evaluate(run, show_progress=False),
        lambda run, out: write_report(run, out / "report.html"),
        lambda run, out: laclrec_tf.load(run),
        lambda run, out: augmenter_report(run, out / "augmenter"),
    ],
    ids=["export", "evaluate", "report", "load", "augmenter"],
)
def test_weights_that_are_not_finite_are_refused_everywhere(laclrec_run, tmp_path, use):
    run = tmp_path / "run"
    shutil.copytree(laclrec_run.folder, run)
    model = RunFolder.open(run).model
    model.item_vectors.assign(model.item_vectors * np.nan)
    model.save(run / "model.keras")
    with pytest.raises(
        InputError, match="is broken: its weight .*embeddings holds NaN or inf. Train again with a lower"
    ):
        use(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("file", PARTS)
def test_a_missing_part_of_a_run_is_named(sasrec_run, tmp_path, file):
    for part in PARTS:
        if part != file:
            (tmp_path / part).write_bytes((sasrec_run.folder / part).read_bytes())
    with pytest.raises(InputError, match=file):
        export(tmp_path, tmp_path / "shop")


@pytest.mark.parametrize("name", ["trained_on", "data_folder", "data_hash", "max_length", "settings"])
def test_a_missing_entry_of_the_record_is_named(sasrec_run, tmp_path, name):
    record = {key: value for key, value in sasrec_run.record.items() if key != name}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"run.json is damaged: it lacks '{name}'"):
        RunFolder.open(tmp_path)


def test_changed_data_of_a_run_is_refused(sasrec_run, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(sasrec_run.record | {"data_hash": "0" * 64}))
    with pytest.raises(InputError, match="contains other data"):
        _ = RunFolder.open(tmp_path).data


def test_the_optimizer_is_read_only_to_train_on(sasrec_run):
    run = RunFolder.open(sasrec_run.folder)
    assert not run.model.compiled
    compiled = run.compiled_model()
    assert int(compiled.optimizer.iterations) > 0
    assert all(map(np.array_equal, compiled.get_weights(), run.model.get_weights()))
