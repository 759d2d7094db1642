"""The commands up to a trained run: places of the local engine, and interrupted trainings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.runtime import cloud_storage


def end(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments])
    return exit_.value.code, capsys.readouterr().err


@pytest.fixture
def events(tmp_path, monkeypatch) -> str:
    """Return a file of events, the only file in the working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    rows = "".join(f"u{user},i{item},{item}\n" for user in range(3) for item in range(4))
    Path("events.csv").write_text("user_id,item_id,timestamp\n" + rows)
    return "events.csv"


def test_prepare_writes_to_a_mounted_bucket(events, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    code, error = end(capsys, "prepare", events, "--out", "gs://shop/data", "--min-interactions", "0")
    assert code == 0, error
    assert (tmp_path / "shop/data/dataset.json").is_file()
    assert os.listdir() == ["events.csv"]


def test_prepare_prints_what_it_read_dropped_and_kept(events, capsys):
    with pytest.raises(SystemExit) as exit_:
        limits = ["--min-user-events", "2", "--min-item-events", "0", "--max-length", "3"]
        limits += ["--window", "last"]
        main(["prepare", events, "--out", "data", *limits])
    out, error = capsys.readouterr()
    assert exit_.value.code == 0
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "events users items option",
        "read 12 3 4",
        "same user, item and time 0 --duplicates drop",
        "items with fewer than 0 events 0 0 --min-item-events 0",
        "users with fewer than 2 events 0 0 --min-user-events 2",
        "older than a user's last 3 -3 -1 --max-length 3",
        "kept 9 3 3",
        "a model reads the last 3 events of a history and is trained on these (--window last)",
        "0.0% of the events have the same time as the user's event before",
        "0.0% of the users' newest items are in their history before: its items are excluded from recommendations",
        "wrote data: 3 users, 3 items, 9 events",
    ]
    assert error.startswith("warning: --max-length 3 drops 3 of 12 events (25.0%)") and error.count("\n") == 1


def test_prepare_says_that_older_events_are_trained_on(events, capsys):
    with pytest.raises(SystemExit):
        main(["prepare", events, "--out", "data", "--min-interactions", "0", "--max-length", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert not any("older" in line for line in lines)
    assert "a model reads the last 3 events of a history and is trained on all, in windows (--window sliding)" in lines
    assert lines[-1] == "wrote data: 3 users, 4 items, 12 events"


@pytest.mark.parametrize("engine", ["local", "beam"])
def test_users_and_items_are_counted_in_the_rows_that_are_not_left_out(events, capsys, engine):
    rows = ["u0,i0,1,5", "u0,i1,2,1", "u1,i1,3,2", "u2,i0,4,4", "u3,,5,5"]
    Path(events).write_text("\n".join(["user_id,item_id,timestamp,rating", *rows]) + "\n")
    with pytest.raises(SystemExit) as exit_:
        options = ["--min-rating", "3", "--drop-missing", "--min-interactions", "0", "--max-length", "3"]
        main(["prepare", events, "--out", "data", *options, "--engine", engine])
    assert exit_.value.code == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()][:6] == [
        "events users items option",
        "read 5",
        "no user or no item -1 --drop-missing",
        "lower ratings -2 --min-rating 3",
        "left 2 2 1",
        "same user, item and time 0 --duplicates drop",
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["events.csv", "--out", "s3://shop/data"], "s3://shop/data is not a local path. Give"),
        (["hdfs://host/events.csv", "--out", "data"], "hdfs://host/events.csv is not a local path. Give"),
        (["events.csv", "--out", "gs://no-such-bucket/data"], "`laclrec-tf prepare --engine beam`"),
        (["gs://no-such-bucket/events.csv", "--out", "data"], "`laclrec-tf prepare --engine beam`"),
    ],
)
def test_the_local_engine_of_prepare_refuses_other_places(events, capsys, given, says):
    code, error = end(capsys, "prepare", *given)
    assert (code, error.count("\n")) == (2, 1)
    assert says in error
    assert os.listdir() == ["events.csv"]


@pytest.mark.parametrize("folder", [None, "kept"])
def test_an_interrupted_training_says_how_to_resume(tmp_path, monkeypatch, capsys, folder):
    def interrupted(data, out, config, *, checkpoints, **_):
        place = checkpoints.folder_for(out)
        place.mkdir(parents=True)
        (place / "checkpoint-000001.npz").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("laclrec_tf.training.train.train", interrupted)
    monkeypatch.chdir(tmp_path)
    code, error = end(capsys, "train", "data", "--out", "run", *(["--checkpoints", folder] if folder else []))
    assert code == 130
    assert error.splitlines() == [
        f"laclrec-tf: the state is in {folder or 'run/checkpoints'}; resume with the same command and --resume",
        "laclrec-tf: interrupted",
    ]


def test_an_interrupted_training_without_a_checkpoint(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("laclrec_tf.training.train.train", interrupted)
    monkeypatch.chdir(tmp_path)
    assert end(capsys, "train", "data", "--out", "run") == (130, "laclrec-tf: interrupted\n")
