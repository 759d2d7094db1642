"""What `evaluate` measures is what a run recommends, also where newest items repeat one of the history."""

from __future__ import annotations

import shutil

import pytest

from studies.served_metrics import main, metrics_of


@pytest.mark.parametrize("exclude_history", [True, False])
def test_the_metrics_of_both_are_equal(sasrec_run, tmp_path, exclude_history):
    run = shutil.copytree(sasrec_run.folder, tmp_path / "run")  # evaluations are written into it
    report, served = metrics_of(run, exclude_history)
    assert {name: report[name] for name in served} == pytest.approx(served, abs=1e-6)
    assert report["targets_in_history"] > 0 and served["recall@20"] > 0


def test_both_settings_of_each_run_are_shown(sasrec_run, tmp_path, capsys):
    run = shutil.copytree(sasrec_run.folder, tmp_path / "run")
    main([run])
    printed = capsys.readouterr().out
    assert printed.count("excluded") == printed.count("kept") == 1
