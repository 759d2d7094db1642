"""The report: its numbers computed by hand or in another way, and a page that needs no other files."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.data.item_vectors import read_titles
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.metrics.ranking import MISSED, ranking_metrics
from laclrec_tf.ops.edits import DELETE, OPERATION_NAMES
from laclrec_tf.report.examples import report_examples
from laclrec_tf.report.measure import held_out_users, noise_findings, popularity_ranks
from laclrec_tf.report.report import _settings, report, report_page
from laclrec_tf.run_folder import RunFolder

VOID = {"meta", "br", "path", "use"}


class Page(HTMLParser):
    """Checks that every element is closed, and keeps headings and what points elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.outside += [
            value for name, value in attrs if name in ("src", "href", "xlink:href") and not value.startswith("#")
        ]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(laclrec_run, tmp_path_factory):
    """Return what was measured of the run with an augmenter, and its page."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    return report(laclrec_run.folder, file, seed=3, show_progress=False), file.read_text()


@pytest.fixture(scope="module")
def users(laclrec_run):
    return held_out_users(laclrec_run, max_users=150, k=10, seed=3)


def test_the_metrics_are_those_of_an_evaluation(laclrec_run, written, tmp_path):
    copy = shutil.copytree(laclrec_run.folder, tmp_path / "run")  # an evaluation is kept in its run
    expected = evaluate(copy, show_progress=False)
    assert set(written[0]["metrics"]) == {f"{name}@{k}" for name in ("recall", "mrr", "ndcg") for k in (5, 10, 20)}
    assert {name: expected[name] for name in written[0]["metrics"]} == written[0]["metrics"]
    assert written[0]["users"] == written[0]["of_users"] == expected["users"]


def test_the_report_follows_what_it_is_told_of_the_history(sasrec_run, tmp_path):
    kept = report(sasrec_run.folder, tmp_path / "report.html", exclude_history=False, show_progress=False)
    copy = shutil.copytree(sasrec_run.folder, tmp_path / "run")
    expected = evaluate(copy, protocol="full-with-history", show_progress=False)
    assert {name: expected[name] for name in kept["metrics"]} == kept["metrics"]
    assert kept["noise"]["none"][0] == pytest.approx(kept["metrics"]["ndcg@10"])
    page = (tmp_path / "report.html").read_text()
    assert "over the whole catalogue of 150 items; ties count" in page
    assert "The run itself excludes the items of a history." in page
    users = held_out_users(sasrec_run, max_users=150, k=10, seed=3, exclude_history=False)
    assert any(np.isin(best, history).any() for best, history in zip(users.lists, users.histories, strict=True))


def test_each_kind_of_edits_is_traced_once_for_all_rates_of_noise(sasrec_run, monkeypatch):
    users, traces, score = held_out_users(sasrec_run, max_users=20, k=10, seed=3), [], type(sasrec_run.model).score
    monkeypatch.setattr(type(sasrec_run.model), "score", lambda *arguments: (traces.append(1), score(*arguments))[1])
    noise_findings(sasrec_run, users, seed=0)
    assert len(traces) == 1


def test_the_noise_curve_begins_with_the_metrics_of_the_page(written):
    found = written[0]
    assert list(found["noise"]) == ["none"]  # too few users for a calibration
    assert len(found["noise"]["none"]) == 5
    assert found["noise"]["none"][0] == pytest.approx(found["metrics"]["ndcg@10"])
    assert found["noise"]["none"][-1] < found["noise"]["none"][0]
    assert "This run was not calibrated" in written[1]


def test_a_calibrated_run_has_the_curve_of_each_kind(laclrec_run, users, tmp_path):
    folder = shutil.copytree(laclrec_run.folder, tmp_path / "run")
    run = RunFolder.open(folder)
    run.model.mixture.choice.assign(1)
    run.model.save(folder / "model.keras")
    calibrated = replace(RunFolder.open(folder), record=run.record | {"edits": {"chosen": "uniform", "users": 60}})
    curves = noise_findings(calibrated, users, seed=0)
    assert list(curves) == ["none", "uniform", "learned"]
    mixed = held_out_users(calibrated, max_users=150, k=10, seed=3)
    assert ranking_metrics(mixed.ranks)["ndcg@10"] == pytest.approx(curves["uniform"][0])
    expected = calibrated.model.recommend([mixed.histories[0]], k=10, edits="uniform")[0]
    assert mixed.lists[0].tolist() == expected[0].numpy().tolist()


def test_groups_hold_every_user_once_and_average_to_the_whole(written):
    found = written[0]
    for name in ("by_length", "by_popularity"):
        rows = found[name]
        assert len(rows) > 1
        assert sum(row["users"] for row in rows) == found["users"]
        mean = sum(row["users"] * row["ndcg"] for row in rows) / found["users"]
        assert mean == pytest.approx(found["metrics"]["ndcg@10"])


def test_a_target_in_the_list_is_at_its_rank(laclrec_run, users):
    assert sorted(set(users.lists.ravel().tolist()))[0] >= 1
    each = list(zip(users.histories, users.targets, users.ranks, users.lists, strict=True))
    new = [row for row in each if row[1] not in row[0]]  # an item of the history is ranked but never recommended
    assert {rank < 10 for _, _, rank, _ in new} == {True, False}
    for history, target, rank, best in new:
        assert (best[rank] == target) if rank < 10 else target not in best
        assert not np.isin(best, history).any()


def test_popularity_ranks_by_hand():
    counts = np.array([5, 9, 5, 1, 0])
    histories = [np.array([2]), np.array([3]), np.array([4, 4])]
    # Item 1 comes after 2 and 3, and 2 is in the history; then after 2, with 3 in the history; item 4 is itself in the
    # history. If the history is kept, item 4 comes after 2, 1 and 3.
    assert popularity_ranks(histories, np.array([1, 1, 4]), counts).tolist() == [1, 1, MISSED]
    kept = popularity_ranks(histories, np.array([1, 1, 4]), counts, exclude_history=False)
    assert kept.tolist() == [2, 2, 3]


def test_what_is_deleted_and_inserted_is_counted(laclrec_run, users, written):
    padded = np.zeros((150, max(map(len, users.histories))), np.int32)
    for row, history in enumerate(users.histories):
        padded[row, : len(history)] = history
    edits = laclrec_run.model.edit(padded)
    gone = Counter(padded[(edits.operations.numpy() == DELETE) & (padded > 0)].tolist())
    found, n_events = written[0]["augmenter"], np.sum(padded > 0)
    assert found["delete_rate"] == pytest.approx(gone.total() / n_events)
    assert found["length"] == pytest.approx(n_events / 150)
    assert found["edited_length"] == pytest.approx(np.sum(edits.edited.numpy() > 0) / 150)
    assert len(gone) > 10
    assert [row["times"] for row in found["most_deleted"]] == sorted(gone.values(), reverse=True)[:10]
    for row in found["most_deleted"]:
        (item,) = laclrec_run.vocabulary.to_ids([row["item"]])
        assert gone[item] == row["times"] <= row["events"] == np.sum(padded == item)


def test_calibration_counts_every_event_once_for_each_operation(written):
    found = written[0]["augmenter"]["calibration"]
    assert list(found) == list(OPERATION_NAMES)
    cases = [sum(each["counts"]) for each in found.values()]
    assert len(set(cases)) == 1 and cases[0] > 150
    filled = [(np.array(each["counts"]), np.nan_to_num(each["observed"])) for each in found.values()]
    assert sum(np.sum(counts * observed) for counts, observed in filled) == pytest.approx(cases[0])


def test_the_page_is_complete_and_loads_nothing(written):
    page = Page(written[1])
    assert page.open == [] and page.outside == []
    assert 0 < len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?://|@import|url\((?!#)", written[1])
    headings = (
        "Learning curves",
        "By length of the history",
        "With noise in the histories",
        "The augmenter",
        "Examples",
    )
    for heading in (*headings, "Most deleted"):
        assert heading in page.headings
    assert f"{written[0]['metrics']['recall@10']:.4f}" in written[1]
    assert "prefers-color-scheme: dark" in written[1] and "@media print" in written[1]
    assert "DejaVu" not in written[1]


@pytest.fixture(scope="module")
def renamed(sasrec_run, data, tmp_path_factory):
    """Return a run without an augmenter or epochs, whose data moved and whose items have dangerous names."""
    folder = tmp_path_factory.mktemp("renamed")
    run = shutil.copytree(sasrec_run.folder, folder / "run")
    (run / "epochs-strict.csv").unlink()
    ItemVocabulary([f"<script>alert({number})</script>" for number in range(150)]).save(run / "vocabulary.txt")
    (run / "run.json").write_text((run / "run.json").read_text().replace(str(data), str(folder / "gone")))
    shutil.copytree(data, folder / "moved")
    return folder


def test_a_training_that_diverged_is_said(sasrec_run):
    assert "diverged" not in dict(_settings(sasrec_run))
    stopped = replace(sasrec_run, record=sasrec_run.record | {"diverged": "The loss is nan in epoch 3, at step 4."})
    assert dict(_settings(stopped))["diverged"] == "The loss is nan in epoch 3, at step 4."


def test_what_a_run_lacks_is_left_out_and_named(renamed):
    found = report(renamed / "run", renamed / "report.html", data=renamed / "moved", users=40, show_progress=False)
    page = (renamed / "report.html").read_text()
    assert found["augmenter"] is None and found["users"] == 40
    assert "This run has no augmenter (preset sasrec)" in page
    assert "Most deleted" not in page and "Repairs of corrupted histories" not in page
    assert "No learning curves" in page
    assert "40 users drawn from 150" in page
    assert "<script" not in page and "&lt;script&gt;alert(" in page
    with pytest.raises(InputError, match="gone"):
        report(renamed / "run", renamed / "other.html", show_progress=False)


def test_examples_match_their_headings(laclrec_run, users):
    examples = report_examples(laclrec_run, users, n=3, seed=0)
    assert len(examples["bad"]) == len(examples["good"]) == 3
    ranked = np.sort(users.ranks[users.ranks < MISSED])
    worst = ranked[-len(ranked) // 10 - 1]
    for example in examples["bad"]:
        assert example.rank > worst
    for example in examples["good"]:
        assert example.rank <= 3 and example.recommended[example.rank - 1] == example.target
    row = users.user_ids.index(examples["bad"][0].user)
    assert [each.item for each in examples["bad"][0].history.before] == laclrec_run.vocabulary.to_items(
        users.histories[row].tolist()
    )
    assert held_out(laclrec_run.data.histories()[1][row], "test")[1] == users.targets[row]


def test_titles_are_shown_beside_the_ids(laclrec_run, written, users, tmp_path):
    examples = report_examples(laclrec_run, users, n=1, seed=3)
    item = next(each for pool in examples.values() for each in pool).target
    (tmp_path / "titles.dat").write_text(f"{item}::Pots & <pans>\n0::of no item\n")
    page = report_page(
        laclrec_run, written[0], {}, examples, read_titles(tmp_path / "titles.dat", item_column="1", title_column="2")
    )
    assert f'<li class="target">Pots &amp; &lt;pans&gt; \u00b7 {item}</li>' in page
    assert "of no item" not in page
    Page(page)


def test_the_command_writes_the_page_or_one_line_of_error(sasrec_run, tmp_path, capsys):
    out = tmp_path / "report.html"
    with pytest.raises(SystemExit) as exit_:
        main(["report", str(tmp_path), "--out", str(out)])
    assert exit_.value.code == 2 and not out.exists()
    assert re.fullmatch(r"laclrec-tf: .* contains no run: .*\n", capsys.readouterr().err)
    with pytest.raises(SystemExit) as exit_:
        main(["report", str(sasrec_run.folder), "--out", str(out), "--users", "30", "--keep-history"])
    assert exit_.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith(f"wrote {out}: 30 users, recall@10 ") and printed.endswith(", history: kept")
    assert out.read_text().endswith("</html>")


def test_what_cannot_be_reported_is_named(sasrec_run, data, tmp_path):
    with pytest.raises(InputError, match="`users` must be at least 1"):
        report(sasrec_run.folder, tmp_path / "report.html", users=0)
    with pytest.raises(InputError, match="Cannot write .*its folder does not exist"):
        report(sasrec_run.folder, tmp_path / "no/report.html")
    run = shutil.copytree(sasrec_run.folder, tmp_path / "run")
    (run / "epochs-strict.csv").write_text("epoch,loss\n0,much\n")
    with pytest.raises(InputError, match=r"epochs-strict.csv is damaged"):
        report(run, tmp_path / "report.html", show_progress=False)
    with pytest.raises(InputError, match="is not prepared data"):
        report(sasrec_run.folder, tmp_path / "report.html", data=tmp_path, show_progress=False)
    assert not (tmp_path / "report.html").exists()
    assert RunFolder.open(sasrec_run.folder).record == sasrec_run.record
