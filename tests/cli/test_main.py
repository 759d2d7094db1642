"""The command line as users call it: all stages once, mistakes in one line, and interruptions."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import laclrec_tf
from laclrec_tf.cli.main import app, main

ROOT = Path(__file__).parents[2]


def run(*arguments, cwd):
    """Run the real command in a new process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "laclrec_tf.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def options_of(command):
    """Return the options of a command, or of all commands if it is None or unknown."""
    commands = dict(typer.main.get_command(app).commands)
    for group in [each for each in commands.values() if hasattr(each, "commands")]:
        commands |= {f"{group.name} {name}": each for name, each in group.commands.items()}
    chosen = [commands[command]] if command in commands else commands.values()
    parameters = [parameter for each in chosen for parameter in each.params]
    return {"--help", *(option for each in parameters for option in (*each.opts, *each.secondary_opts))}


def options_in(message):
    """Return the options that a message names, without those in quoted commands."""
    own = re.sub(r"`(?:laclrec-tf|gcloud|gcsfuse) [^`]*`", "", message)
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", own))


def fail(capsys, *arguments):
    """Run the command in this process, expect exit code 2 and one line, and return the line.

    The command must have every option that the line names.
    """
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("laclrec-tf: ")
    assert options_in(captured.err) <= options_of(arguments[0])
    return captured.err


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return a folder in which all stages were run, one after the other."""
    folder = tmp_path_factory.mktemp("workspace")
    small = ["--set", "width=16", "--set", "max_insertions=2", "--set", "n_recommender_blocks=0", "--epochs", "2"]
    steps = [
        ["simulate", "--out", "events.csv", "--users", "300", "--items", "60", "--seed", "1"],
        ["prepare", "events.csv", "--out", "data", "--exclude-history"],
        ["train", "data", "--out", "run", *small, "--seed", "3"],
        ["evaluate", "run", "--json", "report.json"],
        ["export", "run", "--to", "saved_models/shop"],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for step in steps:
            if step[0] not in ("train", "export"):  # starting a process takes longer than these
                assert main_status(step) == 0
                continue
            done = run(*step, cwd=folder)
            assert done.returncode == 0, done.stderr
            assert done.stderr.count("\n") <= 3, f"{step[0]} is noisy:\n{done.stderr}"
    assert "exact index" in done.stdout
    return folder


def test_the_stages_write_their_results(workspace):
    report = json.loads((workspace / "report.json").read_text())
    for metric in ("recall", "ndcg", "mrr"):
        for k in (5, 10, 20):
            assert 0 <= report[f"{metric}@{k}"] <= 1
    assert report["protocol"] == "full"
    assert report["split"] == "test"
    assert report["trained_on"] == "strict"
    assert report["tie_rule"] == "ties count against the target"
    assert report["seed"] == 3
    assert report["data_hash"] == json.loads((workspace / "data/dataset.json").read_text())["data_hash"]
    record = json.loads((workspace / "run/run.json").read_text())
    assert record["settings"]["model"] == {
        "width": 16,
        "max_insertions": 2,
        "n_recommender_blocks": 0,
        "dropout": 0.1,  # from the data
    }
    assert 1 <= record["best_epoch"] <= 2
    assert list((workspace / "run/tensorboard/strict").rglob("events.out*"))
    header = (workspace / "run/epochs-strict.csv").read_text().splitlines()[0].split(",")
    for name in ("triplet_loss", "contrast_loss", "keep_rate", "val_ndcg@10", "val_deletion_precision"):
        assert name in header
    assert (workspace / "saved_models/shop/1/saved_model.pb").is_file()


def test_the_metrics_to_show_are_chosen(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    assert main_status(["evaluate", "run", "--k", "1,30", "--metrics", "mrr,recall"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    cells = [[word for word in row if word not in "│┃"] for row in rows]
    assert ["k", "mrr", "recall"] in cells and [row[0] for row in cells if row and row[0].isdigit()][:2] == ["1", "30"]
    assert "such as 1,10. Received: '0'" in fail(capsys, "evaluate", "run", "--k", "0")
    assert "some of recall, ndcg, mrr. Received: 'map'" in fail(capsys, "evaluate", "run", "--metrics", "map")
    assert "Leave one out" in fail(capsys, "evaluate", "run", "--protocol", "full", "--keep-history")


def test_served_and_local_answers_agree(workspace, monkeypatch, capsys):
    history = (workspace / "data/vocabulary.txt").read_text().split()[:3]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "laclrec_tf.cli.main", "serve", "saved_models/shop", "--port", str(port)]
    server = subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert "serving shop on 127.0.0.1" in server.stderr.readline()
        query = ["recommend", "--history", ",".join(history), "--k", "4", "--json"]
        over_grpc = run(*query, "--server", f"127.0.0.1:{port}", "--model-name", "shop", cwd=workspace)
        assert over_grpc.returncode == 0, over_grpc.stderr
        answer = json.loads(over_grpc.stdout)
        assert len(answer["item_ids"]) == 4
        assert not set(answer["item_ids"]) & set(history)
        monkeypatch.chdir(workspace)
        assert main_status([*query, "--model", "saved_models/shop", "--exclude", answer["item_ids"][0]]) == 0
        assert json.loads(capsys.readouterr().out)["item_ids"][:3] == answer["item_ids"][1:]
        assert "in use" in fail(capsys, "serve", "saved_models/shop", "--port", port)
        assert "NOT_FOUND" in fail(capsys, *query, "--server", f"127.0.0.1:{port}", "--model-name", "shoe")
    finally:
        server.terminate()
        assert server.wait(timeout=20) == 0


def test_version(capsys):
    assert main_status(["--version"]) == 0
    assert capsys.readouterr().out.strip() == laclrec_tf.__version__


def test_evaluation_on_other_histories(workspace, capsys):
    assert main_status(["evaluate", workspace / "run", "--histories", workspace / "events.csv"]) == 0
    assert "recall" in capsys.readouterr().out


def test_evaluation_on_a_noisy_copy(workspace, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["--rate", "0.3", "--kind", "uniform", "--where", "last", "--seed", "2"]
    assert main_status(["corrupt", workspace / "events.csv", "--out", "noisy.csv", *options]) == 0
    assert capsys.readouterr().out.split() == ["wrote", "noisy.csv", "wrote", "noisy.truth.csv"]
    assert sorted(os.listdir()) == ["noisy.csv", "noisy.truth.csv"]
    rows = Path("noisy.truth.csv").read_text().splitlines()
    n_noise = sum(row.endswith(",true") for row in rows)
    assert 60 < n_noise < 120  # of 300 users
    assert len(rows) == len((workspace / "events.csv").read_text().splitlines()) + n_noise
    assert main_status(["evaluate", workspace / "run", "--histories", "noisy.csv", "--json", "report.json"]) == 0
    assert json.loads(Path("report.json").read_text())["users"] == 300


def main_status(arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "data", "--out", "new", "--preset", "laclrek"], "Did you mean 'laclrec'?"),
        (["train", "data", "--out", "new", "--set", "widht=3"], "Did you mean 'width'?"),
        (["train", "data", "--out", "new", "--set", "width"], "must be key=value"),
        (["train", "data", "--out", "run"], "exists already"),
        (["train", "events.csv", "--out", "new"], "events.csv"),
        (["train", "data", "--out", "events.csv/x"], "Cannot write"),
        (["train", "data", "--out", "new", "--set", "temperature=0"], "`temperature` must be above 0"),
        (["train", "data", "--out", "new", "--set", "random_kinds=[]"], "random_kinds"),
        (["train", "data", "--out", "new", "--set", "max_edited_length=3"], "max_length"),
        (["train", "data", "--out", "new", "--seed", "5000000000"], "seed"),
        (["evaluate", "run", "--protocol", "sampled-99", "--seed", "-1"], "--seed"),
        (["evaluate", "data"], "run.json is missing"),
        (["evaluate", "run", "--json", "nowhere/report.json"], "folder does not exist"),
        (["evaluate", "run", "--json", "data"], "Cannot write data: Is a directory"),
        (["evaluate", "run", "--ranks", "nowhere/ranks.npy"], "folder does not exist"),
        (["evaluate", "run", "--json", "new.json", "--histories", "none.csv"], "none.csv"),
        (["evaluate", "run", "--protocol", "everything"], "everything"),
        (["export", "run", "--to", "events.csv"], "is a file"),
        (["export", "nothing", "--to", "saved_models/x"], "run.json is missing"),
        (["serve", "saved_models/none"], "saved_models/none"),
        (["recommend", "--history", "a"], "--server HOST:PORT"),
        (["recommend", "--history", "a", "--server", "127.0.0.1:1"], "--model-name"),
        (["recommend", "--history", "a", "--server", "127.0.0.1:1", "--model-name", "x"], "UNAVAILABLE"),
        (["recommend", "--history", "a", "--server", "", "--model-name", "x"], "HOST:PORT"),
        (["recommend", "--history", "a", "--server", "127.0.0.1:99999", "--model-name", "x"], "HOST:PORT"),
        (["recommend", "--history", "a", "--model", "saved_models/shop", "--model-name", "x"], "Remove it"),
        (["recommend", "--history", '"a', "--model", "saved_models/shop"], "in quotes"),
        (["prepare", "none.csv", "--out", "new"], "none.csv"),
        (["prepare", "events.csv", "--out", "new", "--item-column", "item"], "item_id"),
        (["prepare", "events.csv", "--out", "new", "--min-interactions", "10000"], "--min-interactions"),
        (["simulate", "--out", "events.csv"], "exists"),
        (["corrupt", "events.csv", "--out", "events.csv"], "events.csv exists. Give another --out"),
        (["corrupt", "events.csv", "--out", "noisy.csv", "--rate", "1"], "`rate` must be from 0 to below 1"),
        (["corrupt", "events.csv", "--out", "noisy.csv", "--keep-last", "-1"], "`keep_last` must be at least 0"),
        (["corrupt", "gone.csv", "--out", "noisy.csv"], "gone.csv does not exist"),
        (["corrupt", "events.csv", "--out", "noisy.csv", "--kind", "rare"], "'rare'"),
        (["benchmark", "--data", "nothing"], "nothing is not prepared data"),
        (["benchmark", "--data", "data", "--growth", "new"], "cannot be combined with --data. Remove --data."),
        (["benchmark", "--epochs", "2", "--growth", "new"], "cannot be combined with --epochs. Remove --epochs."),
        (["benchmark", "--growth", "data"], "data exists already and is not overwritten"),
        (["benchmark", "--growth", "events.csv"], "events.csv exists already"),
        (["benchmark", "--growth", "events.csv/growth"], "Cannot write events.csv/growth: Not a directory"),
        (["benchmark", "--epochs", "0"], "--epochs"),
        (["benchmark", "--data", "data", "--json", "nowhere/report.json"], "folder does not exist"),
        (["benchmark", "--data", "data", "--json", "data"], "Cannot write data: Is a directory"),
        (["benchmark", "--data", "data", "--json", "events.csv/report.json"], "Not a directory"),
        (["benchmark", "--data", "data", "--json", "x" * 300], "File name too long"),
        (["train", "data", "--out", "new", "--set", "precision=float8"], "precision"),
        (["teach"], "teach"),
        (["page", "study", "--out", "page.md"], "Run: python studies/results_page.py --help"),
        (["kubeflow", "run", "saved_models/shop"], "`python pipelines/kubeflow.py`, run from a checkout"),
        (["benchmark", "--without", "fused-adam"], "docs/performance.md has what it measured"),
        (["loadtest", "saved_models/shop", "--malformed=9"], "tests/serving/server/test_malformed_requests.py"),
        (["train"], "'data'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(workspace, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(workspace)
    before = sorted(workspace.rglob("*"))
    assert message in fail(capsys, *arguments)
    assert sorted(workspace.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "data", "--out", "gs://no-such-bucket/run"],
        ["export", "run", "--to=gs://no-such-bucket/shop"],
        ["simulate", "--out", "gs://no-such-bucket/events.csv"],
        ["prepare", "events.csv", "--out", "gs://no-such-bucket/data"],
        ["recommend-all", "saved_models/shop", "data", "--out", "gs://no-such-bucket/best.parquet"],
    ],
)
def test_a_bucket_is_not_read_as_a_local_folder(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    Path("events.csv").write_text("user_id,item_id,timestamp\na,x,1\n")
    assert "must be mounted at /gcs/no-such-bucket, which does not exist" in fail(capsys, *arguments)
    assert os.listdir() == ["events.csv"]


def raised_texts():
    """Yield file, line and text of each `InputError(...)` and each `remedy = ...`."""
    for file in sorted([*(ROOT / "laclrec_tf").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            raises = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError"
            remedy = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "remedy"
            if raises or remedy:
                parts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
                yield file.name, node.lineno, "".join(part for part in parts if isinstance(part, str))


def test_no_error_names_an_option_that_no_command_has():
    found = [(file, line, options_in(text)) for file, line, text in raised_texts()]
    assert sum(bool(options) for *_, options in found) > 20
    known = options_of(None)
    assert [(file, line, options - known) for file, line, options in found if options - known] == []


def interrupted(capsys, *arguments):
    """Run the command in this process, expect the exit code of an interruption, and return standard error."""
    assert main_status(arguments) == 130
    return capsys.readouterr().err


@pytest.fixture()
def sigint_enabled():
    """Handle SIGINT, which a shell disables for programs in the background, e.g. these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_an_interrupted_command_leaves_nothing(workspace, monkeypatch, capsys, stop, sigint_enabled):
    def stopped(*_, **__):
        os.kill(os.getpid(), getattr(signal, stop))

    monkeypatch.chdir(workspace)
    before = sorted(workspace.rglob("*"))
    handlers = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("polars.DataFrame.write_csv", lambda table, file: (file.touch(), stopped()))
    assert interrupted(capsys, "simulate", "--out", "new.csv") == "laclrec-tf: interrupted\n"
    monkeypatch.setattr("laclrec_tf.data.prepare.write_histories", stopped)
    assert interrupted(capsys, "prepare", "events.csv", "--out", "new") == "laclrec-tf: interrupted\n"
    monkeypatch.setattr("laclrec_tf.serving.release.export._check_in_fresh_process", stopped)
    assert interrupted(capsys, "export", "run", "--to", "saved_models/new").endswith("laclrec-tf: interrupted\n")
    monkeypatch.setattr("laclrec_tf.training.session.training_batches", stopped)
    assert interrupted(capsys, "train", "data", "--out", "new") == "laclrec-tf: interrupted\n"
    assert sorted(workspace.rglob("*")) == before
    assert signal.getsignal(signal.SIGTERM) == handlers


def test_an_error_of_the_operating_system_is_one_line(monkeypatch, capsys, tmp_path):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "locked/events.csv")

    monkeypatch.setattr("laclrec_tf.data.simulated.simulate_events", refuse)
    assert "locked/events.csv: Permission denied. Check the path" in fail(
        capsys, "simulate", "--out", tmp_path / "x.csv"
    )


def test_a_warning_is_one_line(capsys, tmp_path):
    rows = [f"{user},{item},17000000{item}{user}" for user in "12" for item in "3456"]
    (tmp_path / "ev.csv").write_text("user_id,item_id,timestamp\n" + "\n".join([*rows, "1,3,1700000000000"]) + "\n")
    assert main_status(["prepare", tmp_path / "ev.csv", "--out", tmp_path / "data", "--min-interactions", "0"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: Some timestamps in {tmp_path / 'ev.csv'} look like seconds, others like millisec")


def test_a_name_in_an_error_does_not_reach_the_terminal(capsys, tmp_path):
    line = fail(capsys, "prepare", tmp_path / "a\x1b[2Jb\u202e\udcff.csv", "--out", tmp_path / "data")
    assert line.removesuffix("\n").isprintable() and "a\\x1b[2Jb\\u202e\\udcff.csv" in line


def test_another_format_version_is_named(workspace, monkeypatch, capsys, tmp_path):
    about = json.loads((workspace / "data/dataset.json").read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset.json").write_text(json.dumps(about | {"format_version": 99}))
    line = fail(capsys, "train", tmp_path / "data", "--out", tmp_path / "run")
    assert "99" in line
    assert "laclrec-tf prepare" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        "simulate",
        "corrupt",
        "prepare",
        "train",
        "grow",
        "evaluate",
        "export",
        "index-benchmark",
        "push",
        "rollback",
        "verify",
        "serve",
        "recommend",
        "loadtest",
        "settings",
        "benchmark",
        "demo",
        "study",
        "augmenter",
    ],
)
def test_help_fits_one_page(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main_status([command, "--help"]) == 0
    page = capsys.readouterr().out
    assert 5 < len(page.splitlines()) <= 50
    assert "…" not in page, "the name of an option is cut off"
