"""What an export is told of its run: only what was measured, and only on this run."""

from __future__ import annotations

import json
import shutil

import pytest

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.evaluation.run_metrics import held_out_histories, keep_evaluation, run_metrics
from laclrec_tf.run_folder import RunFolder


@pytest.fixture
def run(evaluated_run, tmp_path) -> RunFolder:
    """Return a copy of the run that a test may spoil."""
    return RunFolder.open(shutil.copytree(evaluated_run, tmp_path / "run"))


def change(run: RunFolder, **changes) -> RunFolder:
    """Change the record; None takes an entry out."""
    record = {name: value for name, value in (run.record | changes).items() if value is not None}
    (run.folder / "run.json").write_text(json.dumps(record))
    return RunFolder.open(run.folder)


def test_validation_and_evaluations_are_gathered(run, data):
    metrics = run_metrics(run)
    assert (metrics.data_hash, metrics.trained_on, metrics.seed, metrics.preset) == (
        PreparedData.open(data).data_hash,
        "strict",
        3,
        "sasrec",
    )
    assert metrics.data_counts == PreparedData.open(data).counts
    validation, test, with_history = metrics.evaluations
    assert [each.name for each in metrics.evaluations] == ["validation, full", "test, full", "test, full-with-history"]
    assert validation.metrics == run.record["validation"]
    report = json.loads((run.folder / "evaluation-test-full.json").read_text())
    assert test.metrics == {name: report[name] for name in report if "@" in name}
    assert (len(test.metrics), test.users, test.tie_rule) == (9, report["users"], validation.tie_rule)
    assert with_history.metrics != test.metrics


def test_an_evaluation_on_validation_takes_the_trainings_place(run):
    report = evaluate(run.folder, split="validation", show_progress=False)
    validation = run_metrics(run).evaluations[0]
    assert validation.users == report["users"]
    assert validation.metrics["ndcg@10"] == report["ndcg@10"]
    # The training ranked the same items in the same way.
    assert report["ndcg@10"] == pytest.approx(run.record["validation"]["ndcg@10"], abs=1e-6)


def test_evaluations_on_other_histories_are_not_kept(run, data, tmp_path):
    before = sorted(path.name for path in run.folder.iterdir())
    events = tmp_path / "events.csv"
    item = run.vocabulary.items
    rows = [f"u,{item[number]},{number}" for number in range(5)]
    events.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    evaluate(run.folder, histories=events, show_progress=False)
    assert sorted(path.name for path in run.folder.iterdir()) == before


def test_sampled_items_are_told_apart_by_their_seed(run):
    report = json.loads((run.folder / "evaluation-test-full.json").read_text())
    keep_evaluation(run, report | {"protocol": "sampled-99", "negatives_seed": 4})
    assert "test, sampled-99, sampled with seed 4" in [each.name for each in run_metrics(run).evaluations]


def test_a_refit_has_no_validation_of_its_own(run):
    refit = change(run, trained_on="refit")
    assert run_metrics(refit).evaluations == ()  # nor do the evaluations of the strict run count


def test_evaluations_of_another_run_do_not_count(run):
    file = run.folder / "evaluation-test-full.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data_hash": "another"}))
    assert "test, full" not in [each.name for each in run_metrics(run).evaluations]


def test_a_damaged_evaluation_is_named(run):
    (run.folder / "evaluation-test-full.json").write_text("{")
    with pytest.raises(InputError, match="evaluation-test-full.json is damaged. Delete it"):
        run_metrics(run)


def test_a_run_that_cannot_be_written_is_evaluated_all_the_same(run, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    assert "ndcg@10" in evaluate(run.folder, show_progress=False)


def test_held_out_histories_come_from_the_data(run, data):
    held = held_out_histories(run)
    assert held is not None
    assert held.source == "the prepared data, before the test item"
    assert len(held.histories) == 64
    _, histories = PreparedData.open(data).histories()
    first, last = (held_out(histories[user], "test")[0].tolist() for user in (0, -1))
    assert held.histories[0] == run.vocabulary.to_items(first)
    assert held.histories[-1] == run.vocabulary.to_items(last)


def test_without_the_data_nothing_is_made_up(run, tmp_path):
    gone = change(run, data_folder=str(tmp_path / "gone"))
    assert held_out_histories(gone) is None
    assert run_metrics(gone).data_counts == run.record["data_counts"]
    assert run_metrics(change(gone, data_counts=None)).data_counts is None
    older = change(change(gone, data_counts=None), data_folder=run.record["data_folder"])
    assert run_metrics(older).data_counts == run.record["data_counts"]
