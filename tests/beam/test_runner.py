"""Beam as an engine: a missing library or option is one line."""

from __future__ import annotations

import sys

import apache_beam as beam
import pytest

from laclrec_tf.beam.runner import BeamPipelines, pipelines_of
from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError


def fail(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["prepare", "events.csv", "--out", "data", *arguments])
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert error.count("\n") == 1
    return error


def test_without_the_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert "Install it: pip install 'laclrec-tf[beam]'." in fail(capsys, "--engine", "beam")


def test_dataflow_without_its_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.io.gcp.gcsfilesystem", None)
    error = fail(capsys, "--engine", "beam", "--runner", "DataflowRunner")
    assert "DataflowRunner needs Beam's libraries for Google Cloud" in error
    assert "pip install 'apache-beam[gcp]'" in error


def test_google_storage_without_the_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "google_auth_httplib2", None)
    with pytest.raises(SystemExit):
        main(["prepare", "gs://shop-bucket/events.csv", "--out", "data", "--engine", "beam"])
    error = capsys.readouterr().err
    assert "gs://shop-bucket/events.csv: Beam's library for Google Cloud is not installed" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--runner", "DirectRunner"], "--runner and --beam-option need --engine beam."),
        (["--engine", "beam", "--beam-option", "no_such_option=1"], "'no_such_option=1' is no option of Beam"),
        (["--engine", "beam", "--beam-option", "=1"], "--beam-option takes NAME=VALUE or NAME. Received: '=1'."),
        (["--engine", "beam", "--beam-option", "runner=DataflowRunner"], "--beam-option cannot set the runner"),
        (["--engine", "beam", "--beam-option", "direct_num_workers=many"], "cannot be read by Beam"),
    ],
)
def test_mistakes_cost_one_line(capsys, flags, text):
    assert text in fail(capsys, *flags)


def test_options_reach_the_runner():
    pipelines = pipelines_of("beam", None, ["direct_num_workers=2", "--save_main_session"])
    found = pipelines.options.get_all_options()
    assert (pipelines.runner, found["direct_num_workers"], found["save_main_session"]) == ("DirectRunner", 2, True)
    assert pipelines_of("local", None, []) is None


def test_a_failing_pipeline_says_why():
    def build(pipeline: beam.Pipeline) -> None:
        pipeline | beam.Create([0]) | "Divide" >> beam.Map(lambda number: 1 // number)

    with pytest.raises(InputError, match="^The pipeline failed on DirectRunner: .*by zero[^\n]*$"):
        BeamPipelines().run(build)


def test_an_unreachable_job_service_says_so():
    says = r"^FlinkRunner did not accept the pipeline: [^\n]*needs Java[^\n]*job_endpoint=HOST:PORT[^\n]*flink_master"
    with pytest.raises(InputError, match=says):
        BeamPipelines("FlinkRunner", ["flink_master=127.0.0.1:1", "flink_job_server_jar=/no/such.jar"]).run(
            lambda pipeline: pipeline | beam.Create([0])
        )
