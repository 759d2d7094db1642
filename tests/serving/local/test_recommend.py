"""Arguments of `recommend` reach the server, and mistakes are reported before a request is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.client import connection
from laclrec_tf.serving.local.recommend import recommend

ANSWER = {
    "item_ids": [["tent", "mug"]],
    "scores": np.array([[2.0, 0.5]], np.float32),
    "filled": np.array([2], np.int32),
    "unknown": np.array([1], np.int32),
}


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["recommend", *map(str, arguments)])
    return exit_.value.code


def test_every_option_reaches_the_server(hand_written, capsys):
    hand_written.answers["retrieve"] = ANSWER
    arguments = ["--server", hand_written.target, "--model-name", "shop", "--history", "a,b", "--k", 2, "--version", 7]
    more = ["--exclude", "c", "--allow", 'tent,"m,ug"', "--keep-history", "--json"]
    assert run(*arguments, *more) == 0
    assert json.loads(capsys.readouterr().out) == {"item_ids": ["tent", "mug"], "scores": [2.0, 0.5], "unknown": 1}
    assert hand_written.requests[0].model_spec.version.value == 7
    assert {name: value for name, (_, value) in hand_written.inputs[0].items()} == {
        "history": [[b"a", b"b"]],
        "k": 2,
        "exclude": [[b"c"]],
        "allow": [[b"tent", b"m,ug"]],
        "exclude_history": False,
    }


def test_it_waits_for_a_server_that_is_starting(hand_written, capsys, monkeypatch):
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.01)
    hand_written.answers["retrieve"] = ANSWER
    hand_written.refusals = [grpc.StatusCode.UNAVAILABLE] * 8
    arguments = ["--server", hand_written.target, "--model-name", "shop", "--history", "a", "--json"]
    assert run(*arguments, "--wait", 30) == 0
    assert json.loads(capsys.readouterr().out)["item_ids"] == ["tent", "mug"]
    assert len(hand_written.requests) == 9


def test_by_default_the_model_decides_whether_the_history_is_excluded(hand_written):
    hand_written.answers["retrieve"] = ANSWER
    answer = recommend(["a"], server=hand_written.target, model_name="shop", version_label="stable")
    assert answer.item_ids == ("tent", "mug")
    assert hand_written.requests[0].model_spec.version_label == "stable"
    inputs = {name: value for name, (_, value) in hand_written.inputs[0].items()}
    assert (inputs["allow"], inputs["exclude"]) == ([[]], [[]]) and "exclude_history" not in inputs


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--model", "shop", "--version", "1"],
            "--version 1 is for a server. Remove it, or give --server",
        ),
        (["--model", "shop", "--version-label", "x"], "--version-label x is for a server"),
        (["--model", "shop", "--wait", "5"], "--wait 5 is for a server. Remove it, or give --server"),
        (["--server", "h:1", "--model-name", "m", "--wait", "0"], "--wait must be above 0. Received: --wait 0."),
        (["--model", "shop", "--tls-ca", "ca.pem"], "--tls-ca ca.pem is for a server"),
        (["--model", "shop", "--model-name", "m"], "--model-name selects a model on a server"),
        (["--server", "h:1", "--model-name", "m", "--tls-ca", "none.pem"], "cannot read none.pem"),
        (["--server", "h:1", "--model-name", "m", "--tls-key", "none.pem"], "needs both"),
        (["--server", "h:1", "--model-name", "m", "--version", "1", "--version-label", "x"], "not both"),
        (["--server", "h:1", "--model-name", "m", "--version", "-1"], "--version"),
    ],
)
def test_mistakes_cost_one_line(capsys, options, text):
    assert run("--history", "a", *options) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_neither_or_both_places():
    for places in ({}, {"server": "h:1", "model": "shop"}):
        with pytest.raises(InputError, match="Give either --server HOST:PORT with --model-name NAME, or --model DIR"):
            recommend(["a"], **places)


def test_a_server_is_asked_without_tensorflow(hand_written):
    hand_written.answers["retrieve"] = ANSWER
    root = Path(__file__).parents[3]
    script = (
        "import sys; from laclrec_tf.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    arguments = ["recommend", "--server", hand_written.target, "--model-name", "shop", "--history", "a", "--json"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[1] == "[]"
