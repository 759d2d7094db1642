"""The noise curve of a calibrated run: metrics that `rank_targets` gives, groups by the newest event, bad input."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from laclrec_tf.cli.main import app
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.evaluation.noise_curve import noise_curve
from laclrec_tf.evaluation.ranking import rank_targets
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.metrics.ranking import ranking_metrics
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    events, *_ = simulate_events(folder / "events.csv", users=600, items=60, noise=0.0)
    prepare([events], folder / "data", exclude_history=True)
    settings = {"preset": "sasrec", "width": 16, "n_recommender_blocks": 0, "epochs": 3, "targets_per_batch": 256}
    train(folder / "data", folder / "run", settings, boards=False, show_progress=False)
    return folder / "run"


@pytest.fixture(scope="module")
def curve(run):
    return noise_curve([run], rates=[0.0, 0.4], show_progress=False)


def test_a_training_records_its_calibration(run):
    record = RunFolder.open(run).record["edits"]
    assert 50 <= record["users"] <= 70  # a tenth of 600
    assert record["chosen"] == RunFolder.open(run).model.chosen_edits
    assert record["learned"]["gain"] > 0


def test_without_noise_the_metrics_are_those_of_evaluate(run, curve):
    clean = curve["rows"][0]
    assert (clean["rate"], clean["last"]) == (0.0, "any")
    chosen = RunFolder.open(run).record["edits"]["chosen"]
    assert evaluate(run, show_progress=False)["edits"] == chosen
    for edits in ("none", "uniform", "learned"):
        report = evaluate(run, edits=edits, show_progress=False)
        assert report["edits"] == edits
        assert clean[edits] == {name: pytest.approx(report[name]) for name in ("recall@10", "ndcg@10", "mrr@10")}


def test_planted_noise_is_that_of_evaluate(run, curve):
    report = evaluate(run, edits="learned", noise=0.4, show_progress=False)
    assert (report["noise"], curve["rows"][1]["learned"]["ndcg@10"]) == (0.4, pytest.approx(report["ndcg@10"]))
    found = CliRunner().invoke(app, ["evaluate", str(run), "--noise", "1"])
    assert isinstance(found.exception, InputError) and "from 0 to below 1" in str(found.exception)


def test_rows_by_the_newest_event_make_up_the_whole(curve):
    whole, real, noise = curve["rows"][1:]
    assert [row["last"] for row in (whole, real, noise)] == ["any", "real", "noise"]
    assert real["users"] + noise["users"] == whole["users"]
    for edits in ("none", "learned"):
        total = sum(row["users"] * row[edits]["ndcg@10"] for row in (real, noise))
        assert total / whole["users"] == pytest.approx(whole[edits]["ndcg@10"])
    assert noise["none"]["ndcg@10"] < real["none"]["ndcg@10"]


def test_mixing_over_the_edits_gains_where_noise_arrives(curve):
    found = curve["rows"][1]["differences"]
    assert found["learned - none"]["difference"] > 0
    assert found["learned - none"]["p_value"] < 0.05


def test_the_scores_are_probabilities_of_the_model(run):
    folder = RunFolder.open(run)
    history, _ = folder.data.split().pairs("test")[0]
    item_ids, scores = folder.model.recommend([history], k=5, edits="learned")
    assert np.all(np.diff(scores) <= 0) and np.all(scores > 0)
    assert not set(item_ids[0].numpy()) & set(history.tolist())
    ranks = rank_targets(folder.model, [history], item_ids[0, 1:2].numpy(), edits="learned")
    assert ranks.tolist() == [1]
    assert ranking_metrics(ranks)["recall@5"] == 1.0


def test_the_curve_follows_what_it_is_told_of_the_history(run, curve, tmp_path):
    assert curve["protocol"] == "full"
    kept = noise_curve([run], rates=[0.0], exclude_history=False, show_progress=False)
    report = evaluate(run, protocol="full-with-history", edits="none", show_progress=False)
    assert kept["protocol"] == "full-with-history"
    assert kept["rows"][0]["none"]["ndcg@10"] == pytest.approx(report["ndcg@10"])
    other = shutil.copytree(run, tmp_path / "run")
    record = json.loads((other / "run.json").read_text())
    record["settings"]["model"]["exclude_history"] = False
    (other / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"differ in whether they exclude .* Give --exclude-history or --keep-history"):
        noise_curve([run, other], rates=[0.0], show_progress=False)
    assert noise_curve([other], rates=[0.0], exclude_history=True, show_progress=False)["protocol"] == "full"


def test_the_command_writes_and_prints_the_curve(run, tmp_path):
    out = tmp_path / "curve.json"
    arguments = ["--rates", "0.3", "--where", "last", "--keep-history", "--json", str(out)]
    found = CliRunner().invoke(app, ["noise-curve", str(run), *arguments])
    assert found.exit_code == 0, found.output
    assert "full-with-history protocol, noise: popular, last" in " ".join(found.output.split())
    written = json.loads(out.read_text())
    assert (written["where"], [row["last"] for row in written["rows"]]) == ("last", ["any", "real", "noise"])


def test_retired_items_are_skipped_as_in_an_evaluation(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    folder = RunFolder.open(run)
    target = folder.data.split().pairs("test")[0][1]
    ItemVocabulary(folder.vocabulary.to_items([target])).save(copy / "retired.txt")
    row = noise_curve([copy], rates=[0.0], show_progress=False)["rows"][0]
    report = evaluate(copy, show_progress=False)
    assert report["users_with_retired_target"] > 0
    assert (row["users"], row[report["edits"]]["ndcg@10"]) == (report["users"], pytest.approx(report["ndcg@10"]))
    with pytest.raises(InputError, match="differ in catalogue"):
        noise_curve([run, copy])


def test_bad_input_is_one_line(run, tmp_path):
    with pytest.raises(InputError, match="must not be empty"):
        noise_curve([])
    with pytest.raises(InputError, match=r"from 0 to below 1. Received: 1.5"):
        noise_curve([run], rates=[1.5], show_progress=False)
    with pytest.raises(InputError, match="Argument `edits` must be one of chosen, none, uniform, learned"):
        evaluate(run, edits="all", show_progress=False)
    other = tmp_path / "run"
    shutil.copytree(run, other)
    record = json.loads((other / "run.json").read_text())
    del record["edits"]
    (other / "run.json").write_text(json.dumps(record | {"data_hash": "another"}))
    with pytest.raises(InputError, match="differ in data_hash. Give runs on the same data"):
        noise_curve([run, other])
    with pytest.raises(InputError, match="was not calibrated for the edits of histories"):
        evaluate(other, edits="learned", show_progress=False)
