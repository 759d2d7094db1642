"""The page of results: reports one below the other, with plots that are found from the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from laclrec_tf.cli.main import run_app
from laclrec_tf.errors import InputError
from studies.results_page import main, results_page

ROOT = Path(__file__).parents[2]
REPORT = "# Beauty\n\nA # within.\n\n## strict\n\n![a plot](augmenter/x/views.png)\n"


def test_reports_come_below_each_other_with_their_plots(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "docs" / name).mkdir(parents=True)
        (tmp_path / "docs" / name / "report.md").write_text(REPORT.replace("Beauty", name))
    (tmp_path / "notes.md").write_text("# All results\n\nLearned: nothing.\n\n\n")
    page = tmp_path / "docs/results.md"
    results_page([tmp_path / "docs/one", tmp_path / "docs/two"], page, tmp_path / "notes.md")
    section = "## {0}\n\nA # within.\n\n### strict\n\n![a plot]({0}/augmenter/x/views.png)\n"
    assert page.read_text() == "\n".join(["# All results\n\nLearned: nothing.\n", *map(section.format, ("one", "two"))])


def test_a_study_outside_the_pages_folder_and_no_notes(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "study/report.md").write_text("# One\n\n![p](p.png)\n")
    results_page([tmp_path / "study"], tmp_path / "docs/page.md")
    assert (tmp_path / "docs/page.md").read_text() == "# Results\n\n## One\n\n![p](../study/p.png)\n"


def test_a_report_is_made_from_packed_records_as_the_page_in_docs_has_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_:
        run_app(main, "results_page.py", ["studies/encoder_trials.yaml", "--out", str(tmp_path / "page.md")])
    assert (exit_.value.code, capsys.readouterr().out) == (0, f"wrote {tmp_path / 'page.md'}\n")
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Results\n\n## ")
    assert page.removeprefix("# Results\n\n") in (ROOT / "docs/results.md").read_text()
    plots = re.findall(r"\]\((results/encoder-trials/[^)]+)\)", page)
    assert len(plots) == 2 and all((tmp_path / plot).read_bytes().startswith(b"\x89PNG") for plot in plots)


def test_docs_hold_the_plots_that_the_page_shows_and_no_records():
    docs = ROOT / "docs"
    files = {file.relative_to(docs).as_posix() for file in (docs / "results").rglob("*") if file.is_file()}
    shown = set(re.findall(r"\]\((results/[^)]+)\)", (docs / "results.md").read_text()))
    assert files == shown


def test_what_cannot_be_read_or_written_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_app(main, "results_page.py", [str(tmp_path), "--out", str(tmp_path / "page.md")])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count("\n") == 1
    assert re.match("results_page.py: Cannot read .*report.md.*Make it with `laclrec-tf study`", error)
    (tmp_path / "report.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        results_page([tmp_path], tmp_path / "page.md")
    (tmp_path / "report.md").write_text("# One\n")
    with pytest.raises(InputError, match="Cannot write .*its folder does not exist"):
        results_page([tmp_path], tmp_path / "none/page.md")
    (tmp_path / "a_study.yaml").write_text("{}")
    with pytest.raises(InputError, match="Cannot read .*records/a-study.npz: No such file"):
        results_page([tmp_path / "a_study.yaml"], tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()


def test_records_of_noise_become_a_table(tmp_path):
    row = {"rate": 0.2, "last": "any", "users": 12, "none": {"ndcg@10": 0.05}, "uniform": {"ndcg@10": 0.055}}
    row |= {"learned": {"ndcg@10": 0.0605}, "differences": {}}
    for name, difference, p_value in (
        ("uniform - none", 0.1, 0.0002),
        ("learned - none", 0.21, 0.0002),
        ("learned - uniform", 0.1, 0.0125),
    ):
        row["differences"][name] = {"difference": difference, "p_value": p_value}
    bare = {"rate": 0.0, "last": "any", "users": 1200, "none": {"ndcg@10": 0.0601}, "differences": {}}
    curve = {"preset": "laclrec", "seeds": [0, 1], "data": "shop", "rows": [row, bare]}
    curve |= {"split": "test", "kind": "popular", "where": "anywhere"}
    (tmp_path / "curve.json").write_text(json.dumps(curve))
    results_page([], tmp_path / "page.md", noise=[tmp_path / "curve.json"])
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert lines[-2:] == [
        "| shop | `laclrec`, 0, 1 | 20 % | any | 12 | .0500 | .0550 (+10.0 %) | .0605 (+21.0 %) | +10.0 % (p = .013) |",
        "| shop | `laclrec`, 0, 1 | 0 % | any | 1,200 | .0601 |  |  |  |",
    ]
    (tmp_path / "curve.json").write_text(json.dumps(curve | {"split": "validation"}))
    with pytest.raises(InputError, match=r"curve.json does not fit. Give a record"):
        results_page([], tmp_path / "page.md", noise=[tmp_path / "curve.json"])
