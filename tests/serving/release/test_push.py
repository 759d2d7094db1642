"""Push: what is fit and good enough is published whole, and nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.release import push as module
from laclrec_tf.serving.release.publication import LOCK_FILE, RECORD_FILE, push_lock, read_record
from laclrec_tf.serving.release.push import Push
from laclrec_tf.serving.release.validation import Validation
from laclrec_tf.serving.version.folder import version_folders
from laclrec_tf.serving.version.held_out_topk import read_held_out_topk
from laclrec_tf.serving.version.manifest import MANIFEST_FILE, manifest_sha256, verify_manifest, write_manifest
from laclrec_tf.serving.version.metadata import METRICS_FILE, ModelMetrics

pytestmark = pytest.mark.usefixtures("quick_loads")

push = partial(module.push, show_progress=False)
PASSED = Validation(3, 9, 8, "here")


@pytest.fixture
def fit(monkeypatch):
    """Let every candidate with a good manifest pass the validation, which has tests of its own."""
    monkeypatch.setattr(module, "validate", lambda folder: (verify_manifest(folder), PASSED)[1])


@pytest.fixture
def candidate(tmp_path, write_version):
    return write_version(tmp_path / "candidate", "new")


@pytest.fixture
def served(tmp_path, write_version):
    """Return a model's folder with the versions 1 and 2."""
    for number in (1, 2):
        write_version(tmp_path / "shop" / str(number), f"graph {number}")
    return tmp_path / "shop"


def state(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def numbers(model: Path) -> list[int]:
    return list(version_folders(model))


def test_an_export_is_pushed_validated_in_a_fresh_process(exported, tmp_path):
    done = push(exported, tmp_path / "new" / "shop")
    assert done.version == tmp_path / "new" / "shop" / "1"
    assert done.blessing.verdict == "first"
    assert done.validation.held_out_histories == 8
    assert state(done.version) == state(exported)
    assert sorted(path.name for path in done.version.parent.iterdir()) == [RECORD_FILE, "1"]
    (entry,) = read_record(done.version.parent)
    assert (entry["action"], entry["version"], entry["candidate"]) == ("push", 1, str(exported))
    assert entry["manifest_sha256"] == manifest_sha256(exported)
    assert entry["blessing"]["verdict"] == "first"


def test_what_is_not_fit_is_not_pushed_forced_or_not(exported, served, tmp_path):
    spoiled = shutil.copytree(exported, tmp_path / "spoiled")
    (spoiled / "saved_model.pb").write_bytes(b"other")
    before = state(served)
    for force in (False, True):
        with pytest.raises(InputError, match="changed: saved_model.pb"):
            push(spoiled, served, force=force)
        with pytest.raises(InputError, match="changed: saved_model.pb"):
            push(spoiled, tmp_path / "new", force=force)
    assert state(served) == before
    assert not (tmp_path / "new").exists()


def test_a_good_one_takes_the_next_number(fit, candidate, served):
    done = push(candidate, served)
    assert done == Push(served / "3", PASSED, done.blessing, ())
    assert done.blessing.verdict == "passed"
    assert str(done.blessing.comparison) == "ndcg@10 0.1000 against 0.1000 (+0.0%) on validation, full"
    assert numbers(served) == [1, 2, 3]
    assert state(served / "3") == state(candidate)
    (entry,) = read_record(served)
    assert entry["blessing"] == {
        "verdict": "passed",
        "comparison": {
            "metric": "ndcg@10",
            "evaluation": "validation, full",
            "candidate": 0.1,
            "serving": 0.1,
            "tolerance": 0.02,
            "candidate_users": None,
            "serving_users": None,
        },
        "refusal": None,
    }


@pytest.mark.parametrize(
    ("written", "message"),
    [({"ndcg": 0.05}, "is worse than .*2: ndcg@10 0.0500 against 0.1000"), ({"data_hash": "e"}, "the same data")],
)
def test_a_worse_one_or_of_other_data_is_refused_or_forced(fit, served, tmp_path, write_version, written, message):
    candidate = write_version(tmp_path / "worse", **written)
    before = state(served)
    with pytest.raises(InputError, match=message):
        push(candidate, served)
    assert state(served) == before
    done = push(candidate, served, force=True)
    assert (done.version, done.blessing.verdict) == (served / "3", "forced")
    (entry,) = read_record(served)
    assert entry["blessing"]["verdict"] == "forced"
    assert "--force" in entry["blessing"]["refusal"]


def test_metric_and_tolerance_are_used(fit, served, tmp_path, write_version):
    candidate = write_version(tmp_path / "worse", ndcg=0.05)
    assert push(candidate, served, metric="recall@10").version == served / "3"
    with pytest.raises(InputError, match="no auc of the same split and protocol"):
        push(candidate, served, metric="auc")
    assert push(write_version(tmp_path / "w", ndcg=0.03), served, tolerance=0.4).version == served / "4"


def test_forced_without_need_is_recorded_too(fit, candidate, served):
    assert push(candidate, served, force=True).blessing.refusal is None
    assert read_record(served)[0]["blessing"]["comparison"]["candidate"] == 0.1


def test_the_newest_versions_are_kept(fit, candidate, served):
    assert push(candidate, served, keep=2).removed == (1,)
    assert numbers(served) == [2, 3]
    assert push(candidate, served, keep=1).removed == (2, 3)
    assert numbers(served) == [4]
    actions = [(entry["action"], entry["version"]) for entry in read_record(served)]
    assert actions == [("push", 3), ("remove", 1), ("push", 4), ("remove", 2), ("remove", 3)]
    with pytest.raises(InputError, match="`keep` must be at least 1"):
        push(candidate, served, keep=0)


def test_old_versions_that_cannot_be_removed_are_reported(fit, candidate, served, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "remove_old_versions", refuse)
    with pytest.raises(InputError, match="3 is pushed, but old versions could not be removed: Permission denied"):
        push(candidate, served)
    assert numbers(served) == [1, 2, 3]


@pytest.mark.parametrize("tolerance", [-1.0, 1.0])
def test_arguments_are_checked_before_any_work(candidate, served, monkeypatch, tolerance):
    monkeypatch.setattr(module, "validate", lambda folder: pytest.fail("too late"))
    with pytest.raises(InputError, match="tolerance"):
        push(candidate, served, tolerance=tolerance)
    with pytest.raises(InputError, match="it is a file"):
        push(candidate, candidate / "saved_model.pb")
    with pytest.raises(InputError, match="is one version of a model"):
        push(candidate, served / "2")


def test_two_pushes_do_not_race(fit, candidate, served):
    before = state(served)
    with push_lock(served), pytest.raises(InputError, match="Another process pushes to"):
        push(candidate, served)
    assert state(served) == before
    assert push(candidate, served).version == served / "3"


def test_the_version_of_an_export_in_between_is_left_alone(fit, candidate, served, write_version, monkeypatch):
    # Another version 3 appears between the listing and the rename.
    append = module.append_record

    def append_and_race(model, action, version, **about):
        append(model, action, version, **about)
        if version == 3:
            write_version(model / "3", "theirs")

    monkeypatch.setattr(module, "append_record", append_and_race)
    assert push(candidate, served, keep=9).version == served / "4"
    assert (served / "3" / "saved_model.pb").read_text() == "theirs"
    assert [entry["version"] for entry in read_record(served)] == [3, 4]


def test_killed_at_any_moment_every_version_is_whole(fit, candidate, tmp_path, write_version, killed_at):
    moment, seen = 0, set()
    while True:
        served = tmp_path / f"shop-{moment}"
        for number in (1, 2):
            write_version(served / str(number), f"graph {number}")
        killed = killed_at(lambda model=served: push(candidate, model, keep=2), served, moment)
        versions = version_folders(served)
        for folder in versions.values():
            verify_manifest(folder)
        # The old one is served, or the new one is; what goes is the oldest and goes last.
        seen.add(tuple(versions))
        assert tuple(versions) in {(1, 2), (1, 2, 3), (2, 3)}
        recorded = {entry["version"] for entry in read_record(served) if entry["action"] == "push"}
        assert set(versions) - {1, 2} <= recorded
        if killed:
            done = push(candidate, served, keep=2)
            assert done.version == served / str(max(versions) + 1)
        assert len(numbers(served)) == 2
        assert sorted(path.name for path in served.iterdir() if path.name.startswith(".")) == [RECORD_FILE]
        if not killed:
            break
        shutil.rmtree(served)
        moment += 1
    assert moment > 40  # each file is opened, written and read
    assert seen == {(1, 2), (1, 2, 3), (2, 3)}


def test_a_reader_only_ever_sees_whole_versions(fit, candidate, served, tmp_path, write_version):
    wrong, read, done = [], set(), threading.Event()

    def poll():
        while not done.is_set():
            # As a server: the largest number that is there.
            number = max(int(name) for name in os.listdir(served) if name.isdigit())
            folder = served / str(number)
            try:
                verify_manifest(folder)
                read.add(number)
            except (InputError, OSError) as error:
                if folder.exists():  # otherwise two more versions came and it was removed
                    wrong.append(str(error))

    reader = threading.Thread(target=poll)
    reader.start()
    for number in range(30):
        push(write_version(tmp_path / f"candidate-{number}", f"graph {number}" * 9999), served, keep=2)
    done.set()
    reader.join()
    assert wrong == []
    assert len(read) > 3
    assert numbers(served) == [31, 32]


@pytest.mark.parametrize("name", [LOCK_FILE, RECORD_FILE])
def test_a_link_in_the_served_folder_is_not_followed(fit, candidate, served, tmp_path, name):
    (tmp_path / "another").write_text("another's")
    (served / name).symlink_to(tmp_path / "another")
    before = state(served)
    with pytest.raises(InputError, match=f"{name} is a symbolic link, which is not followed. Delete the link"):
        push(candidate, served)
    assert state(served) == before and (served / name).is_symlink()
    assert (tmp_path / "another").read_text() == "another's"


def test_a_candidate_without_a_manifest_is_refused(candidate, served):
    (candidate / MANIFEST_FILE).unlink()
    with pytest.raises(InputError, match="has no assets.extra/manifest.json"):
        push(candidate, served)


def test_a_served_version_that_is_none_blocks_all_but_force(fit, candidate, tmp_path):
    (tmp_path / "shop" / "7").mkdir(parents=True)
    with pytest.raises(InputError, match="7 is not a SavedModel"):
        push(candidate, tmp_path / "shop")
    done = push(candidate, tmp_path / "shop", force=True)
    assert done.version == tmp_path / "shop" / "8"
    assert "is not a SavedModel" in json.dumps(read_record(tmp_path / "shop"))


@pytest.fixture
def run_export(sasrec_export) -> Path:
    """Return the model's folder of an export of the run."""
    return sasrec_export


@pytest.fixture
def run(capsys):
    """Return a function that runs a command and returns its exit code, output and error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out.splitlines(), captured.err

    return call


def worse(run_export: Path, folder: Path) -> Path:
    """Copy a version and halve its numbers."""
    copy = shutil.copytree(run_export / "1", folder)
    metrics = json.loads((copy / METRICS_FILE).read_text())
    for evaluation in metrics["evaluations"]:
        evaluation["metrics"] = {name: value / 2 for name, value in evaluation["metrics"].items()}
    (copy / METRICS_FILE).write_text(json.dumps(metrics))
    write_manifest(copy)
    return copy


def test_an_export_holds_the_metrics_of_its_run(run_export, evaluated_run):
    report = json.loads((evaluated_run / "evaluation-test-full.json").read_text())
    test = next(each for each in ModelMetrics.read(run_export / "1").evaluations if each.name == "test, full")
    assert test.metrics["ndcg@10"] == report["ndcg@10"]
    card = (run_export / "1" / "assets.extra" / "model_card.md").read_text()
    assert "| metric | validation, full | test, full | test, full-with-history |" in card
    row = next(line for line in card.splitlines() if line.startswith("| ndcg@10 |"))
    assert f" {report['ndcg@10']:.4f} |" in row
    held_out, _ = read_held_out_topk(run_export / "1")
    assert (held_out.source, len(held_out.histories)) == ("the prepared data, before the test item", 64)


def validate_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the answers of a new process, which take seconds."""
    passed = Validation(10, 6, 64, "here")
    monkeypatch.setattr("laclrec_tf.serving.release.push.validate", lambda folder: (verify_manifest(folder), passed)[1])


def test_pushed_refused_forced_and_rolled_back(run, run_export, tmp_path, monkeypatch):
    shop = tmp_path / "saved_models" / "shop"
    code, lines, _ = run("push", run_export, "--to", shop)
    assert code == 0
    assert "21 warm-up requests, 64 histories (the prepared data, before the test item)" in lines[0]
    assert lines[1:] == ["blessed: the first version, with none to compare with", f"pushed {shop / '1'}"]

    validate_files_only(monkeypatch)  # the validation has run once
    spoiled = worse(run_export, tmp_path / "worse")
    code, lines, error = run("push", spoiled, "--to", shop)
    assert (code, lines, error.count("\n")) == (2, [], 1)
    assert "is worse than" in error
    assert "(-50.0%) on test, full, tolerance 2.0%" in error
    assert [path.name for path in shop.iterdir() if path.name.isdigit()] == ["1"]

    code, lines, _ = run("push", spoiled, "--to", shop, "--force", "--keep", "2")
    assert code == 0
    assert lines[1].startswith("forced: ") and "is worse than" in lines[1]
    assert lines[-1] == f"pushed {shop / '2'}"
    assert [entry["blessing"]["verdict"] for entry in read_record(shop)] == ["first", "forced"]

    code, lines, _ = run("rollback", shop)
    assert (code, lines) == (0, [f"published {shop / '3'}, a copy of version 1, in place of version 2"])
    assert run("verify", shop)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "0"], "--keep"),
        (["--tolerance", "2"], "`tolerance` must be at least 0 and below 1"),
        (["--metric", ""], "`metric` must name a metric"),
    ],
)
def test_mistakes_cost_one_line_and_leave_nothing(run, run_export, tmp_path, arguments, message):
    code, _, error = run("push", run_export, "--to", tmp_path / "shop", *arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert not (tmp_path / "shop").exists()


def test_no_candidate(run, tmp_path):
    code, _, error = run("push", tmp_path / "nothing", "--to", tmp_path / "shop")
    assert code == 2
    assert "nothing is no folder" in error
    assert not (tmp_path / "shop").exists()


def test_versions_of_other_data_are_compared_on_the_data_given(run_export, data, tmp_path, run, monkeypatch):
    validate_files_only(monkeypatch)
    served = tmp_path / "shop"
    assert run("push", run_export, "--to", served)[0] == 0
    other = shutil.copytree(run_export / "1", tmp_path / "other")
    metrics = json.loads((other / METRICS_FILE).read_text())
    (other / METRICS_FILE).write_text(json.dumps(metrics | {"data_hash": "f" * 64}))
    write_manifest(other)

    code, _, error = run("push", other, "--to", served)
    assert code == 2
    assert "not measured on the same data" in error
    assert "Give --data" in error

    code, lines, _ = run("push", other, "--to", served, "--data", data)
    assert code == 0
    (blessed,) = [line for line in lines if line.startswith("blessed: ")]
    assert "(+0.0%) on the test items of" in blessed
    assert read_record(served)[-1]["blessing"]["comparison"]["candidate"] > 0

    code, lines, _ = run("push", other, "--to", served, "--data", data, "--keep-history")
    assert code == 0
    assert lines[1].startswith("blessed: ") and lines[1].endswith(", history kept")
    code, lines, _ = run("push", run_export, "--to", tmp_path / "two")
    code, lines, _ = run("push", run_export, "--to", tmp_path / "two", "--keep-history")
    assert code == 0
    assert lines[1].endswith("(+0.0%) on test, full-with-history")

    code, _, error = run("push", other, "--to", served, "--data", data, "--metric", "loss")
    assert code == 2
    assert "must be recall@k, mrr@k or ndcg@k" in error
    code, _, error = run("push", other, "--to", served, "--data", tmp_path / "nowhere")
    assert code == 2
    assert "is not prepared data" in error
