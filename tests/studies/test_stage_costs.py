"""What a command costs is that of its own process, and a failed command is no cost."""

from __future__ import annotations

import sys

import pytest

from laclrec_tf.errors import InputError
from studies import stage_costs


def test_the_memory_is_that_of_the_process():
    small, large = (
        stage_costs.cost_of(
            [sys.executable, "-c", f"import time; kept = bytearray({megabytes} * 2**20); time.sleep(0.2)"]
        )
        for megabytes in (1, 301)
    )
    assert large.gigabytes - small.gigabytes == pytest.approx(300 / 1024, rel=0.05)
    assert small.seconds > 0


def test_a_failed_command_is_an_error():
    with pytest.raises(InputError, match="exit.3. failed: no events"):
        stage_costs.cost_of([sys.executable, "-c", "import sys; print('no events', file=sys.stderr); sys.exit(3)"])


def test_every_stage_is_run_on_the_results_of_the_one_before(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(stage_costs, "cost_of", lambda command: commands.append(command[3:]))
    names = stage_costs.stage_costs(tmp_path / "events.csv", tmp_path, ["--max-length", "9"], "sasrec", 2)
    assert list(names) == ["prepare", "train, 2 epochs", "evaluate", "report", "export", "recommend-all"]
    data, run = f"{tmp_path}/data", f"{tmp_path}/run"
    assert commands[0] == ["prepare", f"{tmp_path}/events.csv", "--out", data, "--max-length", "9"]
    assert commands[1] == ["train", data, "--out", run, "--preset", "sasrec", "--epochs", "2"]
    assert [command[:2] for command in commands[2:5]] == [["evaluate", run], ["report", run], ["export", run]]
    assert commands[5] == ["recommend-all", commands[4][3], data, "--out", f"{tmp_path}/lists.parquet"]
