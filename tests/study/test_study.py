"""Studies: finished trainings are not repeated, other settings are refused, and the report has the records' numbers."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.files import file_sha256
from laclrec_tf.runtime.output_files import file_lock
from laclrec_tf.study import study as studies
from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.report import _conditions
from laclrec_tf.study.runs import Cell, _differing_settings
from laclrec_tf.study.study import study
from laclrec_tf.study.tables import StudyTable, Training
from laclrec_tf.training.config import DEPENDENT_DEFAULTS, TrainConfig, setting_names

pytestmark = pytest.mark.usefixtures("untraced_training")


@pytest.fixture(scope="module")
def data(short_data):
    return short_data


TINY = {"width": 8, "epochs": 1, "targets_per_batch": 2000, "n_recommender_blocks": 0, "max_insertions": 1}

SOME_OF_AUGMENTER = (
    ("deletions", "recall"),
    ("insertions", "hit@1_at_random"),
    ("insertions", "hit@10_of_most_popular"),
    ("views", "cosine_raw_learned"),
    ("views", "learned_is_raw"),
)


def written(folder, small, **content):
    file = folder / "study.yaml"
    models = {"sasrec": {"preset": "sasrec", **TINY}, "laclrec": {"preset": "laclrec", **TINY}}
    file.write_text(yaml.safe_dump({"data": {"small": str(small)}, "models": models} | content, sort_keys=False))
    return file


@pytest.fixture()
def in_this_process(monkeypatch):
    """Train in this process, and return the names of the trainings."""
    trained = []

    def run(cell, show_progress):
        trained.append(cell.name)
        studies.run_cell(cell, show_progress=False)

    monkeypatch.setattr(studies, "_in_a_process", run)
    return trained


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A study of two models and a refit with two evaluations, the first one trained in a process of its own."""
    folder = tmp_path_factory.mktemp("study")
    file = written(
        folder,
        data,
        refit=["sasrec"],
        reference="laclrec",
        augmenter=True,
        truth={"small": str(data.parent / "events.truth.csv")},
        evaluations={
            "full": {},
            "cleaned": {"clean": True, "protocol": "full-with-history"},
            "mixed": {"edits": "uniform", "noise": 0.2},
            "served": {"edits": "chosen", "noise": 0.2},
        },
    )
    return file, folder / "out", studied(file, folder / "out", in_a_process=1)


def studied(file, out, in_a_process=0):
    """Run a study: the first trainings in processes of their own, which import TensorFlow, the others in this one."""
    start, started = studies._in_a_process, []

    def run(cell, show_progress):
        started.append(cell)
        (start if len(started) <= in_a_process else studies.run_cell)(cell, show_progress=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "_in_a_process", run)
        return study(file, out, show_progress=False)


def test_every_training_is_recorded(finished):
    _, _, records = finished
    assert [(r["model"], r["trained_on"], r["seed"]) for r in records] == [
        ("sasrec", "strict", 0),
        ("sasrec", "refit", 0),
        ("laclrec", "strict", 0),
    ]
    assert records[1]["refit_epochs"] == records[0]["best_epoch"] == 1
    for record in records:
        report = record["evaluations"]["full"]
        assert {"protocol", "tie_rule", "data_hash", "split", "seed", "recall@10"} <= set(report)
        assert report["split"] == "test"


def test_only_models_with_an_augmenter_clean(finished):
    _, _, records = finished
    assert [sorted(r["evaluations"]) for r in records] == [["full", "served"]] * 2 + [["cleaned", "full", "served"]]
    assert records[2]["evaluations"]["cleaned"]["clean"] is True


def test_only_calibrated_models_are_evaluated_over_edits(finished):
    # There are too few users for a calibration, so nothing is chosen.
    _, out, records = finished
    assert records[0]["skipped"] == ["cleaned", "mixed"]
    served = records[0]["evaluations"]["served"]
    assert (served["edits"], served["noise"]) == ("none", 0.2)
    assert "20% of the events planted noise, drawn by popularity" in (out / "report.md").read_text()


def test_the_stored_ranks_give_the_metrics(finished):
    _, out, records = finished
    for record in records:
        name = f"small--{record['model']}--seed-0--{record['trained_on']}"
        ranks = np.load(out / "results" / f"{name}.npz")["full"]
        report = record["evaluations"]["full"]
        assert ranks.dtype == np.uint8 and len(ranks) == report["users"]
        assert np.mean(ranks < 20) == pytest.approx(report["recall@20"])
        assert np.mean(np.where(ranks < 10, 1 / np.log2(ranks + 2.0), 0)) == pytest.approx(report["ndcg@10"], abs=1e-6)
        assert evaluate(out / "runs" / name, show_progress=False)["ndcg@10"] == report["ndcg@10"]


def test_the_report_holds_the_numbers(finished):
    _, out, records = finished
    report = (out / "report.md").read_text()
    for record in records:
        assert f"{record['evaluations']['full']['ndcg@10']:.4f}" in report
    assert "ties count against the target" in report and "## small, refit, full" in report
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7  # "full" and "served" of three trainings, "cleaned" of one
    assert float(rows[0]["recall@10"]) == records[0]["evaluations"]["full"]["recall@10"]
    assert (out / "metrics.png").stat().st_size > 1000 and (out / "curves.png").stat().st_size > 1000


def test_the_augmenter_of_a_strict_run_is_measured_where_there_is_one(finished):
    _, out, records = finished
    assert [record.get("augmenter", "not measured") for record in records[:2]] == [None, "not measured"]
    found = records[2]["augmenter"]
    folder = out / "augmenter/small--laclrec--seed-0--strict"
    assert json.loads((folder / "augmenter.json").read_text()) == found
    report = (out / "report.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| laclrec | 1 | ") and line.count("|") == 20)
    detection = found["popular_noise"]["detection"]
    aucs = [detection[name][place] for place in ("auc", "auc_last") for name in ("augmenter", "popularity")]
    assert f"| {' | '.join(f'{auc:.4f}' for auc in aucs)} |" in row
    for group, name in SOME_OF_AUGMENTER:
        assert f" {found[group][name]:.4f} " in row
    assert f"| {found['planted_noise']['recall']:.4f} | {found['planted_noise']['good_lost']:.4f} |" in report
    plots = [line.split("](")[1][:-1] for line in report.splitlines() if line.startswith("![") and "augmenter/" in line]
    assert [(out / plot).stat().st_size > 1000 for plot in plots] == [True] * 4


def test_a_result_without_the_requested_augmenter_report_is_refused(data, tmp_path, in_this_process):
    models = {"sasrec": {"preset": "sasrec", **TINY}}
    study(written(tmp_path, data, models=models), tmp_path / "out", show_progress=False)
    with pytest.raises(InputError, match="other settings"):
        study(written(tmp_path, data, models=models, augmenter=True), tmp_path / "out", show_progress=False)


def test_a_result_without_the_requested_planted_noise_is_refused(finished, tmp_path, in_this_process):
    file, out, _ = finished
    shutil.copytree(out, tmp_path / "out")
    result = tmp_path / "out/results/small--laclrec--seed-0--strict.json"
    record = json.loads(result.read_text())
    del record["augmenter"]["planted_noise"]
    result.write_text(json.dumps(record))
    with pytest.raises(InputError, match="other settings"):
        study(file, tmp_path / "out", show_progress=False)


def test_a_record_older_than_a_setting_is_refused(finished, tmp_path, in_this_process):
    file, out, _ = finished
    shutil.copytree(out, tmp_path / "out")
    result = tmp_path / "out/results/small--laclrec--seed-0--strict.json"
    record = json.loads(result.read_text())
    del record["settings"]["model"]["n_negatives"]
    result.write_text(json.dumps(record))
    with pytest.raises(InputError, match="other settings"):
        study(file, tmp_path / "out", show_progress=False)


def test_finished_trainings_are_not_repeated(finished, in_this_process):
    file, out, records = finished
    assert study(file, out, show_progress=False) == records
    assert in_this_process == []


def test_an_interrupted_study_resumes(data, tmp_path, in_this_process, monkeypatch):
    file = written(tmp_path, data, seeds=[0, 1], models={"sasrec": {"preset": "sasrec", **TINY}})
    run = studies.run_cell

    def interrupted(cell, show_progress=True):
        if cell.seed == 1:
            cell.run.mkdir(parents=True)
            (cell.run / "epochs-strict.csv").write_text("half")
            raise KeyboardInterrupt
        run(cell, show_progress)

    monkeypatch.setattr(studies, "run_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study(file, tmp_path / "out", show_progress=False)
    monkeypatch.setattr(studies, "run_cell", run)
    in_this_process.clear()
    assert [record["seed"] for record in study(file, tmp_path / "out", show_progress=False)] == [0, 1]
    assert in_this_process == ["small--sasrec--seed-1--strict"]


class EpochsSeen(keras.callbacks.Callback):
    """Records the trained epochs, and stops the process after one of them."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.epochs, self.stop_after = [], stop_after

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)
        if epoch == self.stop_after:
            signal.raise_signal(signal.SIGTERM)


def test_an_interrupted_training_resumes_at_its_epoch(data, tmp_path, in_this_process, monkeypatch):
    file = written(tmp_path, data, models={"sasrec": {"preset": "sasrec", **TINY, "epochs": 3, "patience": 3}})
    seen = [EpochsSeen(stop_after=1), EpochsSeen()]
    train = studies.train
    monkeypatch.setattr(studies, "train", partial(train, callbacks=seen[:1]))
    with pytest.raises(KeyboardInterrupt):
        study(file, tmp_path / "out", show_progress=False)
    monkeypatch.setattr(studies, "train", partial(train, callbacks=seen[1:]))
    (record,) = study(file, tmp_path / "out", show_progress=False)
    assert [each.epochs for each in seen] == [[0, 1], [2]]
    assert record["epochs_run"] == len(record["curve"]) == 3


def test_a_finished_run_of_other_settings_is_refused_and_kept(finished, data, tmp_path, in_this_process):
    _, out, _ = finished
    run = shutil.copytree(
        out / "runs/small--sasrec--seed-0--strict", tmp_path / "out/runs/small--sasrec--seed-0--strict"
    )
    other = written(tmp_path, data, models={"sasrec": {"preset": "sasrec", **TINY, "width": 16}})
    with pytest.raises(InputError, match="finished run of another training: width differ"):
        study(other, tmp_path / "out", show_progress=False)
    assert (run / "run.json").read_bytes() == (out / "runs" / run.name / "run.json").read_bytes()


NOISY = {"histories": {"small": "{noisy}"}}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {"evaluations": {"full": {"protocol": "full-with-history"}, "noisy": NOISY, "elsewhere": {}}},
            ["elsewhere", "full"],
        ),
        (
            {"evaluations": {"full": {}, "noisy": {"histories": {"small": "{other}"}}, "elsewhere": NOISY}},
            ["elsewhere", "noisy"],
        ),
        ({"evaluations": {"full": {}, "noisy": {}, "elsewhere": {"clean": True}}}, ["noisy"]),
        ({"evaluations": {"full": {"noise": 0.1}, "noisy": NOISY, "elsewhere": {"edits": "uniform"}}}, ["full"]),
        ({"evaluations": {"full": {}, "elsewhere": {"histories": {"large": "{noisy}"}}}}, ["noisy"]),
        ({"evaluations": {"full": {"histories": {"large": "{noisy}"}}, "noisy": NOISY}}, ["elsewhere", "full"]),
        ({"split": "validation"}, ["full", "noisy"]),
    ],
    ids=["protocol", "histories", "own histories", "noise", "fewer", "of another data set", "split"],
)
def test_results_of_other_evaluations_are_refused(evaluated, changed, named, data, tmp_path, in_this_process):
    file, out, records = evaluated
    assert study(file, out, show_progress=False) == records
    files = {"{noisy}": str(data.parent / "events.csv"), "{other}": str(shorter(data, tmp_path))}
    text = yaml.safe_dump(yaml.safe_load(file.read_text()) | changed, sort_keys=False)
    for name, path in files.items():
        text = text.replace(f"'{name}'", path)
    other = tmp_path / "study.yaml"
    other.write_text(text)
    names = ", ".join(f"evaluation '{name}'" for name in named)
    with pytest.raises(InputError, match=f"the defaults give: {names}. Delete it to evaluate the training again"):
        study(other, out, show_progress=False)
    assert in_this_process == []


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory):
    """A study that also evaluates on files of histories: one for each of its data sets."""
    folder = tmp_path_factory.mktemp("evaluated")
    events = str(data.parent / "events.csv")
    evaluations = {"full": {}, "noisy": {"histories": {"small": events}}, "elsewhere": {"histories": {"large": events}}}
    models = {"sasrec": {"preset": "sasrec", **TINY}}
    data_sets = {"small": str(data), "large": str(data)}
    file = written(folder, data, models=models, evaluations=evaluations, data=data_sets)
    return file, folder / "out", studied(file, folder / "out")


def shorter(data, folder):
    """Write the events without the last event."""
    file = folder / "shorter.csv"
    file.write_text("".join((data.parent / "events.csv").read_text().splitlines(keepends=True)[:-1]))
    return file


def without(name):
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != name})


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:-3], lambda _: "[]", *(without(name) for name in ("settings", "curve", "seconds", "skipped"))],
)
def test_a_damaged_record_is_named(finished, damage, tmp_path, in_this_process):
    file, out, _ = finished
    shutil.copytree(out / "results", tmp_path / "out/results")
    record = tmp_path / "out/results/small--sasrec--seed-0--strict.json"
    record.write_text(damage(record.read_text()))
    with pytest.raises(InputError, match=rf"{record.name} is damaged \(.*Delete it to evaluate the training again"):
        study(file, tmp_path / "out", show_progress=False)
    assert in_this_process == []


def zeros_in_the_middle(content):
    return content[: len(content) // 3] + bytes(len(content) // 3) + content[2 * (len(content) // 3) :]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"PK", lambda content: content[:-9], zeros_in_the_middle])
def test_damaged_ranks_are_named_before_any_training(finished, damage, tmp_path, in_this_process):
    file, out, _ = finished
    shutil.copytree(out / "results", tmp_path / "out/results")
    (tmp_path / "out/results/small--laclrec--seed-0--strict.json").unlink()
    ranks = tmp_path / "out/results/small--sasrec--seed-0--refit.npz"
    ranks.write_bytes(damage(ranks.read_bytes()))
    with pytest.raises(InputError, match=f"{ranks.name} is damaged"):
        study(file, tmp_path / "out", show_progress=False)
    assert in_this_process == []


def test_ranks_of_other_evaluations_are_named(finished, tmp_path, in_this_process):
    file, out, _ = finished
    results = shutil.copytree(out / "results", tmp_path / "out/results")
    shutil.copy(results / "small--sasrec--seed-0--strict.npz", results / "small--laclrec--seed-0--strict.npz")
    with pytest.raises(InputError, match="laclrec--seed-0--strict.npz is damaged .its evaluations differ"):
        study(file, tmp_path / "out", show_progress=False)


def test_a_refit_of_another_epoch_count_is_refused(finished, tmp_path, in_this_process):
    file, out, _ = finished
    results = shutil.copytree(out / "results", tmp_path / "out/results")
    strict = results / "small--sasrec--seed-0--strict.json"
    strict.write_text(json.dumps(json.loads(strict.read_text()) | {"best_epoch": 7}))
    with pytest.raises(InputError, match="refit.json was made with other settings .*: the epoch count of its strict"):
        study(file, tmp_path / "out", show_progress=False)


def test_a_refit_without_its_strict_run_is_refused(finished, tmp_path, in_this_process):
    file, out, _ = finished
    results = shutil.copytree(out / "results", tmp_path / "out/results")
    (results / "small--sasrec--seed-0--refit.json").unlink()
    with pytest.raises(InputError, match="sasrec--seed-0--strict is missing: the refit takes over what it knows of"):
        study(file, tmp_path / "out", show_progress=False)
    assert in_this_process == []


def test_a_training_killed_in_its_first_epoch_starts_from_scratch(data, tmp_path, in_this_process):
    file = written(tmp_path, data, models={"sasrec": {"preset": "sasrec", **TINY}})
    run = tmp_path / "out/runs/small--sasrec--seed-0--strict"
    (run / "tensorboard").mkdir(parents=True)
    (run / "epochs-strict.csv").touch()
    (record,) = study(file, tmp_path / "out", show_progress=False)
    assert record["epochs_run"] == len(record["curve"]) == 1


def test_an_unknown_run_folder_is_refused_before_any_training(data, tmp_path, in_this_process):
    run = tmp_path / "out/runs/small--laclrec--seed-0--strict"
    run.mkdir(parents=True)
    (run / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds letter.txt and no training to resume"):
        study(written(tmp_path, data), tmp_path / "out", show_progress=False)
    assert in_this_process == [] and (run / "letter.txt").read_text() == "dear"


def test_a_run_of_other_defaults_is_refused_and_kept(finished, tmp_path, in_this_process, monkeypatch):
    file, out, _ = finished
    shutil.copytree(out, tmp_path / "out")
    result = tmp_path / "out/results/small--sasrec--seed-0--strict.json"
    result.unlink()
    monkeypatch.setitem(DEPENDENT_DEFAULTS, "label_smoothing", (0.1, 0.0))
    with pytest.raises(InputError, match="finished run of another training: label_smoothing differ"):
        study(file, tmp_path / "out", show_progress=False)
    assert (tmp_path / "out/runs" / result.stem / "run.json").exists() and not result.exists()


def test_the_report_names_the_conditions(evaluated, data):
    _, out, _ = evaluated
    digest = file_sha256(data.parent / "events.csv")
    assert f"; histories of events.csv, SHA-256 {digest[:12]}….\n" in (out / "report.md").read_text()
    with (out / "metrics.csv").open() as file:
        rows = {(row["data"], row["evaluation"]): row for row in csv.DictReader(file)}
    assert rows["small", "noisy"]["histories_sha256"] == digest and rows["small", "full"]["histories_sha256"] == ""
    assert rows["small", "noisy"]["clean"] == "False" and rows["small", "noisy"]["negatives_seed"] == "0"
    assert set(rows) == {("small", "full"), ("small", "noisy"), ("large", "full"), ("large", "elsewhere")}


def test_the_report_names_the_trainings_that_diverged():
    measured = {"users": 3, "split": "test", "protocol": "full", "tie_rule": "ties"}
    records = [
        {"model": "laclrec", "seed": seed, "data_hash": "0" * 64, "diverged": said}
        for seed, said in ((0, None), (1, "The loss is nan in epoch 3, at step 4."))
    ]
    trainings = [Training(each, measured, np.zeros(3, np.uint8)) for each in records]
    table = StudyTable("small", "strict", "full", {"laclrec": trainings})
    said = "stopped by a value that is not finite, at the best epoch before: `laclrec` seed 1"
    assert _conditions(table)[-1] == said
    assert not any("finite" in each for each in _conditions(replace(table, models={"laclrec": trainings[:1]})))


def test_results_of_other_settings_are_refused(finished, data, tmp_path, in_this_process):
    _, out, _ = finished
    other = written(tmp_path, data, models={"sasrec": {"preset": "sasrec", **TINY, "width": 16}})
    with pytest.raises(InputError, match="made with other settings"):
        study(other, out, show_progress=False)
    assert in_this_process == []


def test_results_of_other_dependent_defaults_are_refused(finished, in_this_process, monkeypatch):
    file, out, records = finished
    assert records[0]["settings"]["model"]["label_smoothing"] == 0.2
    monkeypatch.setitem(DEPENDENT_DEFAULTS, "label_smoothing", (0.1, 0.0))
    with pytest.raises(InputError, match="other settings than the study file and the defaults give"):
        study(file, out, show_progress=False)
    assert in_this_process == []


def test_results_of_other_defaults_are_refused(finished, in_this_process, monkeypatch):
    file, out, _ = finished
    settings = setting_names()
    monkeypatch.setattr("laclrec_tf.training.config.setting_names", lambda: settings | {"n_heads": 1})
    with pytest.raises(InputError, match="other settings than the study file and the defaults give"):
        study(file, out, show_progress=False)
    assert in_this_process == []


def test_a_killed_training_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "run_cell", _killed)
    with pytest.raises(InputError, match="small--sasrec--seed-0--strict was killed"):
        study(written(tmp_path, data), tmp_path / "out", show_progress=False)


def _killed(cell, show_progress):
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_error_of_a_training_is_raised_by_the_study(data, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "run_cell", _refused)
    with pytest.raises(InputError, match="a reason"):
        study(written(tmp_path, data), tmp_path / "out", show_progress=False)


def _refused(cell, show_progress):
    raise InputError("a reason")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds processes in /proc")
def test_a_training_ends_with_its_study(data, tmp_path):
    arguments = ["study", str(written(tmp_path, data)), "--out", str(tmp_path / "out")]
    run = subprocess.Popen([sys.executable, "-m", "laclrec_tf.cli.main", *arguments], stderr=subprocess.PIPE, text=True)
    next(line for line in run.stderr if "small--" in line)
    (child,) = training_processes(run.pid)
    run.terminate()
    _, error = run.communicate(timeout=120)
    assert run.returncode == 130 and "interrupted" in error and "Traceback" not in error and "oneDNN" not in error
    assert not Path(f"/proc/{child}").exists()


def training_processes(parent: int, seconds: float = 60.0) -> list[int]:
    """Wait for the child processes that run Python code, except the resource tracker, and return their ids."""
    end = time.monotonic() + seconds
    found: list[int] = []
    while not found and time.monotonic() < end:
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                status, command = (entry / "status").read_text(), (entry / "cmdline").read_text()
                if f"PPid:\t{parent}\n" in status and "spawn_main" in command:
                    found.append(int(entry.name))
    return found


def test_one_process_at_a_time(data, tmp_path, in_this_process):
    out = tmp_path / "out"
    out.mkdir()
    with file_lock(out / ".lock", busy="busy"), pytest.raises(InputError, match="Another process"):
        study(written(tmp_path, data), out, show_progress=False)
    assert in_this_process == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"models": {"a": {"preset": "sasrek"}}}, "Model 'a'.*Did you mean 'sasrec'"),
        ({"models": {"a": {"widht": 8}}}, "Did you mean 'width'"),
        ({"models": {}}, "`models` must name at least one"),
        ({"reference": "b"}, "no model 'b'"),
        ({"refit": ["laclrec"], "split": "validation"}, "refit has seen the validation items"),
        ({"split": "train"}, "split"),
        ({"metrics": ["recall@10", "ndcg@21"]}, "metrics.1"),
        ({"seedz": [1]}, "seedz"),
        ({"truth": {"small": "t.csv"}}, "`truth` names 'small', which takes `augmenter: true`"),
        ({"truth": {"big": "t.csv"}, "augmenter": True}, "`truth` names 'big', data sets: small"),
        ({"evaluations": {"x": {"protocol": "ful"}}}, "evaluations.x.protocol"),
        (
            {"evaluations": {"x": {"histories": {"smal": "h.csv"}}}},
            "`histories` of evaluation 'x' names 'smal', data sets",
        ),
        ({"models": {"a": {"refit": True}}}, "Model 'a' of the study: name it under `refit` of the study"),
        ({"seeds": [0, 1, 0]}, r"`seeds` must differ. Received: \[0, 1, 0\]"),
        ({"models": {"a b": {}, "a_b": {}}}, "'a b' on 'small' and 'a_b' on 'small' would have the same files"),
    ],
)
def test_a_wrong_study_file_is_refused_before_any_training(data, tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        StudyConfig.read(written(tmp_path, data, **content))


def test_histories_of_one_data_set_are_not_used_for_another(evaluated, in_this_process):
    file, out, records = evaluated
    assert [sorted(record["evaluations"]) for record in records] == [["full", "noisy"], ["elsewhere", "full"]]
    assert [record["skipped"] for record in records] == [["elsewhere"], ["noisy"]]
    assert study(file, out, show_progress=False) == records
    assert in_this_process == []


def test_missing_histories_are_refused_before_any_training(data, tmp_path, in_this_process):
    file = written(tmp_path, data, evaluations={"noisy": {"histories": {"small": "none.csv"}}})
    with pytest.raises(InputError, match="The file none.csv of the study is missing."):
        study(file, tmp_path / "out", show_progress=False)
    assert in_this_process == [] and not (tmp_path / "out").exists()


def test_records_are_plain_json(finished):
    _, out, records = finished
    for record in records:
        name = f"small--{record['model']}--seed-0--{record['trained_on']}"
        assert json.loads((out / "results" / f"{name}.json").read_text()) == record


@pytest.mark.parametrize(
    ("model", "recorded", "differing"),
    [
        ({"preset": "sasrec"}, {"dropout": 0.1, "exclude_history": False}, []),  # from the data, which are gone
        ({"preset": "sasrec", "dropout": 0.3}, {"dropout": 0.1}, ["dropout"]),
        ({"preset": "sasrec"}, {"width": 8}, ["width"]),
        ({"preset": "popular"}, {"exclude_history": False}, []),
    ],
)
def test_what_followed_from_data_that_are_gone_is_not_compared(tmp_path, model, recorded, differing):
    config = TrainConfig.of(model)
    cell = Cell("d", str(tmp_path / "gone"), "m", 0, "strict", "test", config, {}, False, None, tmp_path)
    settings = json.loads(json.dumps(config.resolved()))
    settings["model"] |= recorded
    assert _differing_settings(cell, {"settings": settings}) == differing
