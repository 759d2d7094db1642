"""The push as users call it: a run exported, verified, pushed and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.serving.release.publication import read_record
from laclrec_tf.serving.release.validation import Validation
from laclrec_tf.serving.version.held_out_topk import read_held_out_topk
from laclrec_tf.serving.version.manifest import verify_manifest, write_manifest
from laclrec_tf.serving.version.metadata import METRICS_FILE, ModelMetrics


@pytest.fixture
def candidate(sasrec_export) -> Path:
    """Return the model's folder of an export of the run."""
    return sasrec_export


@pytest.fixture
def run(capsys):
    """Return a function that runs a command and returns its exit code, output and error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out.splitlines(), captured.err

    return call


def worse(candidate: Path, folder: Path) -> Path:
    """Copy a version and halve its numbers."""
    copy = shutil.copytree(candidate / "1", folder)
    metrics = json.loads((copy / METRICS_FILE).read_text())
    for evaluation in metrics["evaluations"]:
        evaluation["metrics"] = {name: value / 2 for name, value in evaluation["metrics"].items()}
    (copy / METRICS_FILE).write_text(json.dumps(metrics))
    write_manifest(copy)
    return copy


def test_an_export_tells_of_its_run(candidate, evaluated_run):
    report = json.loads((evaluated_run / "evaluation-test-full.json").read_text())
    test = next(each for each in ModelMetrics.read(candidate / "1").evaluations if each.name == "test, full")
    assert test.metrics["ndcg@10"] == report["ndcg@10"]
    card = (candidate / "1" / "assets.extra" / "model_card.md").read_text()
    assert "| metric | validation, full | test, full | test, full-with-history |" in card
    row = next(line for line in card.splitlines() if line.startswith("| ndcg@10 |"))
    assert f" {report['ndcg@10']:.4f} |" in row
    held_out, _ = read_held_out_topk(candidate / "1")
    assert (held_out.source, len(held_out.histories)) == ("the prepared data, before the test item", 64)


def test_pushed_refused_forced_and_rolled_back(run, candidate, tmp_path, monkeypatch):
    shop = tmp_path / "saved_models" / "shop"
    code, lines, _ = run("push", candidate, "--to", shop)
    assert code == 0
    assert "21 warm-up requests, 64 histories (the prepared data, before the test item)" in lines[0]
    assert lines[1:] == ["blessed: the first version, with none to compare with", f"pushed {shop / '1'}"]

    # The validation was made once, in a process of its own; it takes seconds.
    stood = Validation(10, 6, 64, "here")
    monkeypatch.setattr("laclrec_tf.serving.release.push.validate", lambda folder: verify_manifest(folder) or stood)
    spoiled = worse(candidate, tmp_path / "worse")
    code, lines, error = run("push", spoiled, "--to", shop)
    assert (code, lines, error.count("\n")) == (2, [], 1)
    assert "is worse than" in error
    assert "(-50.0%) on test, full, tolerance 2.0%" in error
    assert [path.name for path in shop.iterdir() if path.name.isdigit()] == ["1"]

    code, lines, _ = run("push", spoiled, "--to", shop, "--force", "--keep", "2")
    assert code == 0
    assert lines[1].startswith("forced: ") and "is worse than" in lines[1]
    assert lines[-1] == f"pushed {shop / '2'}"
    assert [entry["blessing"]["verdict"] for entry in read_record(shop)] == ["first", "forced"]

    code, lines, _ = run("rollback", shop)
    assert (code, lines) == (0, [f"published {shop / '3'}, a copy of version 1, in place of version 2"])
    assert run("verify", shop)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "0"], "--keep"),
        (["--tolerance", "2"], "`tolerance` must be at least 0 and below 1"),
        (["--metric", ""], "`metric` must name a metric"),
    ],
)
def test_mistakes_cost_one_line_and_leave_nothing(run, candidate, tmp_path, arguments, message):
    code, _, error = run("push", candidate, "--to", tmp_path / "shop", *arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert not (tmp_path / "shop").exists()


def test_no_candidate(run, tmp_path):
    code, _, error = run("push", tmp_path / "nothing", "--to", tmp_path / "shop")
    assert code == 2
    assert "nothing is no folder" in error
    assert not (tmp_path / "shop").exists()


def test_versions_of_other_data_are_compared_on_the_data_given(candidate, data, tmp_path, run):
    served = tmp_path / "shop"
    assert run("push", candidate, "--to", served)[0] == 0
    other = shutil.copytree(candidate / "1", tmp_path / "other")
    metrics = json.loads((other / METRICS_FILE).read_text())
    (other / METRICS_FILE).write_text(json.dumps(metrics | {"data_hash": "f" * 64}))
    write_manifest(other)

    code, _, error = run("push", other, "--to", served)
    assert code == 2
    assert "not measured on the same data" in error
    assert "Give --data" in error

    code, lines, _ = run("push", other, "--to", served, "--data", data)
    assert code == 0
    (blessed,) = [line for line in lines if line.startswith("blessed: ")]
    assert "(+0.0%) on the last items of" in blessed
    assert read_record(served)[-1]["blessing"]["comparison"]["candidate"] > 0

    code, _, error = run("push", other, "--to", served, "--data", data, "--metric", "loss")
    assert code == 2
    assert "must be recall@k, mrr@k or ndcg@k" in error
    code, _, error = run("push", other, "--to", served, "--data", tmp_path / "nowhere")
    assert code == 2
    assert "is no prepared data" in error
