"""The page of results: reports one below the other, their plots found from where the page lies."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from studies.results_page import results_page

REPORT = "# Beauty\n\nA # within.\n\n## strict\n\n![a plot](augmenter/x/views.png)\n"


def test_reports_come_below_each_other_with_their_plots(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "docs/results" / name).mkdir(parents=True)
        (tmp_path / "docs/results" / name / "report.md").write_text(REPORT.replace("Beauty", name))
    (tmp_path / "notes.md").write_text("# All results\n\nLearned: nothing.\n\n\n")
    page = tmp_path / "docs/results.md"
    results_page([tmp_path / "docs/results/one", tmp_path / "docs/results/two"], page, tmp_path / "notes.md")
    section = "## {0}\n\nA # within.\n\n### strict\n\n![a plot](results/{0}/augmenter/x/views.png)\n"
    assert page.read_text() == "\n".join(["# All results\n\nLearned: nothing.\n", *map(section.format, ("one", "two"))])


def test_a_study_outside_the_pages_folder_and_no_notes(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "study/report.md").write_text("# One\n\n![p](p.png)\n")
    results_page([tmp_path / "study"], tmp_path / "docs/page.md")
    assert (tmp_path / "docs/page.md").read_text() == "# Results\n\n## One\n\n![p](../study/p.png)\n"


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    with pytest.raises(InputError, match="Cannot read .*report.md.*Make it with `laclrec-tf study`"):
        results_page([tmp_path], tmp_path / "page.md")
    (tmp_path / "report.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        results_page([tmp_path], tmp_path / "page.md")
    (tmp_path / "report.md").write_text("# One\n")
    with pytest.raises(InputError, match="Cannot write .*its folder does not exist"):
        results_page([tmp_path], tmp_path / "none/page.md")
    assert not (tmp_path / "page.md").exists()
