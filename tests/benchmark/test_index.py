"""The index benchmark: its measurements and its errors."""

from __future__ import annotations

import json

import pytest

from laclrec_tf.benchmark.index import index_benchmark
from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError


def test_random_vectors_are_searched_exactly(tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main(["index-benchmark", "--items", "700", "--width", "8", "--json", str(tmp_path / "report.json")])
    assert status.value.code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["items"], report["width"]) == (700, 8)
    assert list(report["ways"]) == ["matmul and top_k", "exact"]
    for way in report["ways"].values():
        assert sorted(way["milliseconds"]) == ["1 query", "32 queries"]
        assert all(milliseconds > 0 for milliseconds in way["milliseconds"].values())
    assert "700 items x 8" in capsys.readouterr().out


def test_a_run_is_also_searched_in_partitions(sasrec_run):
    report = index_benchmark(sasrec_run.folder, show_progress=False)
    assert report["items"] == sasrec_run.vocabulary.n_items
    partitioned = report["ways"]["partitioned"]
    assert partitioned["recall@20"] >= 0.98 and 1 <= partitioned["probes"] <= partitioned["partitions"]
    with pytest.raises(InputError, match="--items and --width are for random vectors. Remove them"):
        index_benchmark(sasrec_run.folder, items=5)


@pytest.mark.parametrize("option", [["--recall", "0.9"], ["--partitions", "3"], ["--int8"]])
def test_random_vectors_have_no_partitions(option, capsys):
    with pytest.raises(SystemExit) as status:
        main(["index-benchmark", *option])
    assert status.value.code == 2
    assert "random vectors do not cluster" in capsys.readouterr().err


def test_a_report_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError):
        index_benchmark(items=5, json_out=tmp_path / "missing" / "report.json")
