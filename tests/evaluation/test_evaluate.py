"""Evaluating a run on its own histories, or on others whose unknown items and users are skipped and counted."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import polars as pl
import pytest

from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate, evaluate_users, negatives_of_users
from laclrec_tf.evaluation.ranking import sample_negatives
from laclrec_tf.metrics.ranking import MISSED, ranking_metrics, served_protocol
from laclrec_tf.recommender import load
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.train import train

OWN = {"ann": np.array([1, 2, 3]), "bob": np.array([9, 8, 7, 6]), "cid": np.array([5, 5, 2])}
N_ITEMS = 150


def of(**histories):
    targets = np.array([history[-1] for history in histories.values()])
    return dict(
        zip(
            histories,
            negatives_of_users(list(histories), list(histories.values()), targets, OWN, N_ITEMS, 3),
            strict=True,
        )
    )


def test_the_runs_own_users_get_samples_in_their_order():
    drawn = of(**OWN)
    np.testing.assert_array_equal(list(drawn.values()), sample_negatives(list(OWN.values()), N_ITEMS, seed=3))


def test_noise_order_and_skipped_users_do_not_change_samples():
    clean = of(**OWN)
    noisy = of(cid=np.array([*range(20, 120), 5, 5, 2]), ann=np.array([1, 50, 2, 60, 3]))
    for user, negatives in noisy.items():
        np.testing.assert_array_equal(negatives, clean[user])


def test_other_users_get_unseen_items():
    stranger, later = np.arange(1, 41), np.array([1, 2, 3, 120])
    drawn = of(dan=stranger, ann=later)
    assert not set(drawn["dan"]) & set(stranger)
    assert not set(drawn["ann"]) & {1, 2, 3, 120}
    assert all(len(set(negatives)) == 99 for negatives in drawn.values())


@pytest.fixture(scope="module")
def run(sasrec_run, tmp_path_factory):
    """Return a copy of a run, into which evaluations are written."""
    return RunFolder.open(shutil.copytree(sasrec_run.folder, tmp_path_factory.mktemp("runs") / "run"))


def write(tmp_path, *histories):
    rows = [f"user{u},{item},{t}" for u, history in enumerate(histories) for t, item in enumerate(history)]
    file = tmp_path / "histories.csv"
    file.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    return file


def test_unknown_items_are_skipped_and_counted(run, tmp_path):
    a, b, c, d = run.vocabulary.items[:4]
    file = write(tmp_path, [a, "new", b, c, d], [a, b, "new"], [a, b, c, "new", d])
    on_test = evaluate(run.folder, histories=file, show_progress=False)
    assert (on_test["users"], on_test["users_with_unknown_target"], on_test["unknown_item_events"]) == (2, 1, 3)
    assert on_test["histories_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    # The last user's validation item is unknown, and the item before must not take its place.
    on_validation = evaluate(run.folder, histories=file, split="validation", show_progress=False)
    assert (on_validation["users"], on_validation["users_with_unknown_target"]) == (1, 2)


def test_the_same_histories_give_the_same_numbers(run, data):
    own = evaluate(run.folder, show_progress=False)
    from_file = evaluate(run.folder, histories=data.parent / "events.csv", show_progress=False)
    # The users are in another order, so sums may differ in their last digit.
    assert {name: from_file[name] for name in own if "@" in name} == pytest.approx(
        {name: value for name, value in own.items() if "@" in name}
    )


def test_sampled_items_are_the_same_for_the_same_users_with_noise(run, data, tmp_path, monkeypatch):
    drawn = []

    def record(*_, negatives, **__):
        drawn.append(negatives)
        return np.zeros(len(negatives), np.int32)

    monkeypatch.setattr("laclrec_tf.evaluation.evaluate.rank_targets", record)
    users, histories = PreparedData.open(data).histories()
    noise = run.vocabulary.items[-1]
    rows = []
    for user, history in zip(users, histories, strict=True):
        items = run.vocabulary.to_items(history.tolist())
        rows += [f"{user},{item},{t}" for t, item in enumerate([noise, *items])]
    (tmp_path / "noisy.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    evaluate(run.folder, protocol="sampled-99", show_progress=False)
    evaluate(run.folder, protocol="sampled-99", histories=tmp_path / "noisy.csv", show_progress=False)
    np.testing.assert_array_equal(drawn[0][np.argsort(users)], drawn[1])  # a table's users are sorted


def test_protocols_rank_against_their_items(run):
    full, with_history, sampled = (
        evaluate(run.folder, protocol=protocol, show_progress=False)
        for protocol in ("full", "full-with-history", "sampled-99")
    )
    # The more items compete, the lower is the rank: with the history's items, or only 99 items.
    assert with_history["mrr@20"] <= full["mrr@20"] <= sampled["mrr@20"]
    assert {r["protocol"] for r in (full, with_history, sampled)} == {"full", "full-with-history", "sampled-99"}


def test_each_users_rank_is_written(run, tmp_path):
    report = evaluate(run.folder, ranks_out=tmp_path / "ranks.csv", show_progress=False)
    table = pl.read_csv(tmp_path / "ranks.csv")
    assert table.columns == ["user_id", "item_id", "rank", "in_history"] and table.height == report["users"]
    assert (table["rank"] <= 10).mean() == pytest.approx(report["recall@10"])
    last = dict(zip(*run.data.histories(), strict=True))
    targets = [run.vocabulary.items[last[user][-1] - 1] for user in table["user_id"]]
    assert table["item_id"].to_list() == targets
    evaluate(run.folder, ranks_out=tmp_path / "ranks.parquet", show_progress=False)
    assert pl.read_parquet(tmp_path / "ranks.parquet").equals(table)


def test_ranks_are_written_to_a_table_only(run, tmp_path):
    with pytest.raises(InputError, match=r"must end in .csv or .parquet. Received: .*ranks.npy"):
        evaluate(run.folder, ranks_out=tmp_path / "ranks.npy", show_progress=False)


def test_targets_in_the_history_are_missed_unless_the_history_is_kept(run, tmp_path):
    items = run.vocabulary.items[:6]
    rows = [("u1", item, time) for time, item in enumerate([*items[:4], items[0]])]  # its last item is repeated
    rows += [("u2", item, time) for time, item in enumerate(items[:4])]
    rows += [("u3", item, time) for time, item in enumerate(items[:2])]  # too short
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    report, users = evaluate_users(run.folder, histories=file, show_progress=False)
    assert (report["users"], report["users_too_short"], report["targets_in_history"]) == (2, 1, 0.5)
    assert users["in_history"].to_list() == [True, False]
    first, second = (users.filter(pl.col("user_id") == user)["rank"].item() for user in ("u1", "u2"))
    assert first == 2**31 and report["recall@10"] == (0.5 if second <= 10 else 0.0)
    kept = evaluate(run.folder, protocol="full-with-history", histories=file, show_progress=False)
    assert kept["targets_in_history"] == 0.5


def test_other_cut_offs_join_the_usual_ones(run):
    report, users = evaluate_users(run.folder, ks=(1, 50), show_progress=False)
    assert {f"recall@{k}" for k in (1, 5, 10, 20, 50)} <= set(report)
    assert report["recall@1"] == float((users["rank"] == 1).mean())
    assert report["recall@50"] == float((users["rank"] <= 50).mean()) >= report["recall@20"]
    with pytest.raises(InputError, match="cut-offs of at least 1. Received: 0"):
        evaluate(run.folder, ks=(0, 5), show_progress=False)


@pytest.mark.parametrize("exclude_history", [True, False])
def test_what_is_measured_is_what_is_recommended(run, tmp_path, exclude_history):
    generator = np.random.default_rng(0)
    drawn = [generator.choice(run.vocabulary.items, 8).tolist() for _ in range(60)]
    drawn = [[*items, items[2]] if number % 3 else items for number, items in enumerate(drawn)]  # many repeat an item
    rows = [(f"u{user}", item, time) for user, items in enumerate(drawn) for time, item in enumerate(items)]
    file = tmp_path / "events.csv"
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(file)
    protocol = served_protocol(exclude_history)
    report = evaluate(run.folder, protocol=protocol, histories=file, edits="none", show_progress=False)
    answers = load(run.folder).recommend([items[:-1] for items in drawn], k=20, exclude_history=exclude_history)
    places = [
        answer.item_ids.index(items[-1]) if items[-1] in answer.item_ids else MISSED
        for answer, items in zip(answers, drawn, strict=True)
    ]
    expected = ranking_metrics(places)
    assert {name: report[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert (report["recall@20"] > 0) and (report["targets_in_history"] > 0.5)


@pytest.mark.parametrize(("window", "expected"), [("last", (0.25, 0.0)), ("sliding", (0.5, 0.25))])
def test_the_share_of_repeated_targets_of_prepare_is_what_evaluation_sees(tmp_path, window, expected):
    # Of the repeated targets, only that of b repeats an item of the last four events.
    histories = {"a": "vwxyzv", "b": "vwxyzy", "c": "yvwxyz", "d": "zyxwv"}
    rows = [(user, item, time) for user, items in histories.items() for time, item in enumerate(items)]
    table = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    prepared = prepare(table, tmp_path / "data", min_interactions=0, max_length=4, window=window, show_progress=False)
    shares = prepared.counts["repeated_targets"], prepared.counts["repeated_validation_targets"]
    assert shares == expected
    train(tmp_path / "data", tmp_path / "run", {"preset": "popular"}, show_progress=False)
    for split, share in zip(("test", "validation"), shares, strict=True):
        report, users = evaluate_users(tmp_path / "run", split=split, protocol="full", show_progress=False)
        assert report["targets_in_history"] == share == (users["rank"] == MISSED + 1).mean()


def test_cleaning_needs_an_augmenter(run):
    with pytest.raises(InputError, match="no trained augmenter.*preset sasrec"):
        evaluate(run.folder, clean=True)


def test_histories_too_short_for_a_held_out_item_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="three events"):
        evaluate(run.folder, histories=write(tmp_path, run.vocabulary.items[:2]))


def test_a_column_that_is_missing_can_only_be_renamed(run, tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("user,item_id,timestamp\nu1,i1,1\n")
    with pytest.raises(InputError, match=r"no column 'user_id'\. Did you mean user\?.* Rename the column\.$"):
        evaluate(run.folder, histories=file, show_progress=False)


@pytest.fixture
def copied(run, tmp_path):
    """Return a copy of the run without evaluations."""
    return RunFolder.open(shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation-*")))


def evaluations(run):
    return {file.name: json.loads(file.read_text()) for file in run.folder.glob("evaluation-*")}


def test_only_reports_on_the_runs_own_histories_are_written_into_the_run(copied, tmp_path):
    file = write(tmp_path, copied.vocabulary.items[:5])
    evaluate(copied.folder, histories=file, show_progress=False)
    assert evaluations(copied) == {}
    report = evaluate(copied.folder, split="validation", protocol="full-with-history", show_progress=False)
    assert evaluations(copied) == {"evaluation-validation-full-with-history.json": report}


def test_a_read_only_run_is_evaluated(copied, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    assert "ndcg@10" in evaluate(copied.folder, show_progress=False)
    assert evaluations(copied) == {}
