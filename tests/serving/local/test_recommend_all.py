"""Recommendations for all users: the server's answers, and no part computed twice after a kill."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tensorflow.core.protobuf import config_pb2

from laclrec_tf.cli.main import main
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.serving import ModelServer, RetrievalClient
from laclrec_tf.serving.local import recommend_all as module
from laclrec_tf.serving.local.recommend_all import join_parts, part_file, parts_folder, recommend_all, write_whole

pytestmark = pytest.mark.usefixtures("quick_loads")

ROOT = Path(__file__).parents[3]


@pytest.fixture
def full_disk():
    """Let no file of this process grow beyond 4 KB, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_parts(tmp_path, full_disk):
    for number in range(2):
        rows = pl.DataFrame({"user_id": [sha256(bytes([number, row])).hexdigest() for row in range(80)]})
        write_whole(part_file(tmp_path, number), rows.write_parquet)
    out = tmp_path / "all.parquet"
    with pytest.raises(InputError, match="Cannot write .*all.parquet: .*(too large|os error 27).*again to resume"):
        join_parts(tmp_path, 2, out)
    too_much = pl.DataFrame({"number": range(10**5)})
    with pytest.raises(InputError, match="Cannot write .*part-00002.parquet: "):
        write_whole(part_file(tmp_path, 2), too_much.write_parquet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_a_folders_name_is_no_pattern(tmp_path):
    folder = tmp_path / "best [1].parquet.parts"
    folder.mkdir()
    write_whole(part_file(folder, 0), pl.DataFrame({"number": [1]}).write_parquet)
    join_parts(folder, 1, tmp_path / "best [1].parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["best [1].parquet"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "USERS_IN_A_PART", 40)


def test_the_servers_answers(data, sasrec_export, tmp_path, small_parts):
    out = tmp_path / "new" / "best.parquet"
    assert recommend_all(sasrec_export, [data], out, k=7, show_progress=False) == 150
    assert names(out.parent) == ["best.parquet"]
    table = pl.read_parquet(out)
    assert dict(table.schema) == module.SCHEMA
    prepared = PreparedData.open(data)
    user_ids, histories = prepared.histories()
    assert table["user_id"].to_list() == user_ids
    with (
        ModelServer("shop", sasrec_export, port=0) as server,
        RetrievalClient(f"127.0.0.1:{server.port}", "shop") as client,
    ):
        queries = [prepared.vocabulary.to_items(history.tolist()) for history in histories]
        answers = client.recommend(queries, k=7)
    assert table["item_ids"].to_list() == [list(answer.item_ids) for answer in answers]
    assert table["unknown"].to_list() == [answer.unknown for answer in answers] == [0] * 150
    scores = np.array([answer.scores for answer in answers])
    np.testing.assert_allclose(np.array(table["scores"].to_list()), scores, rtol=1e-5)


def test_a_file_of_events_and_what_the_model_does_not_know(sasrec_export, data, tmp_path):
    known = PreparedData.open(data).vocabulary.items[:3]
    rows = [("ann", known[0], 2), ("bob", "strange", 1), ("ann", "odd", 1), ("ann", known[1], 3), ("ann", known[1], 3)]
    frame = pl.DataFrame(rows, schema=["who", "what", "when"], orient="row")
    frame.write_csv(tmp_path / "events.csv")
    columns = {"user_column": "who", "item_column": "what", "time_column": "when"}
    recommend_all(
        sasrec_export, [tmp_path / "events.csv"], tmp_path / "a.parquet", k=200, columns=columns, show_progress=False
    )
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table["user_id"].to_list() == ["ann", "bob"]
    assert table["unknown"].to_list() == [1, 1]
    ann, bob = table["item_ids"].to_list()
    assert not set(ann) & set(known[:2]) and known[2] in ann
    assert len(bob) == len(ann) + 2 == len(table["scores"][1])  # no more than there are
    cut = {"max_length": 1, "columns": columns, "exclude_history": False}
    recommend_all(sasrec_export, [tmp_path / "events.csv"], tmp_path / "b.parquet", k=200, show_progress=False, **cut)
    table = pl.read_parquet(tmp_path / "b.parquet")
    assert table["unknown"].to_list() == [0, 1]  # of ann only the last event is left
    assert len(table["item_ids"][0]) == len(table["item_ids"][1])


def test_after_a_kill_only_missing_parts_are_computed(data, sasrec_export, tmp_path, small_parts, monkeypatch):
    monkeypatch.setattr(
        "laclrec_tf.serving.local.loaded_model.config_pb2", config_pb2
    )  # optimizes, as the process does
    out = tmp_path / "best.parquet"
    script = f"""
import os, signal
from laclrec_tf.serving.local import recommend_all as module
module.USERS_IN_A_PART = 40
recommended, calls = module.recommended, []
def kill_at_the_third(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return recommended(*arguments)
module.recommended = kill_at_the_third
module.recommend_all({str(sasrec_export)!r}, [{str(data)!r}], {str(out)!r}, show_progress=False)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    parts = tmp_path / "best.parquet.parts"
    assert names(tmp_path) == ["best.parquet.parts"]
    assert names(parts) == [".lock", "about.json", "part-00000.parquet", "part-00001.parquet"]

    with pytest.raises(InputError, match=r"made with another k\. Delete the folder to start from scratch"):
        recommend_all(sasrec_export, [data], out, k=3, show_progress=False)
    with pytest.raises(InputError, match="made with another histories"):
        recommend_all(sasrec_export, [data], out, max_length=3, show_progress=False)
    computed = []
    recommended = module.recommended
    monkeypatch.setattr(module, "recommended", lambda *a: (computed.append(len(a[1])), recommended(*a))[1])
    recommend_all(sasrec_export, [data], out, show_progress=False)
    assert computed == [40, 30]
    assert names(tmp_path) == ["best.parquet"]
    recommend_all(sasrec_export, [data], tmp_path / "undisturbed.parquet", show_progress=False)
    assert pl.read_parquet(out).equals(pl.read_parquet(tmp_path / "undisturbed.parquet"))


def test_a_damaged_part_is_made_again(data, sasrec_export, tmp_path, small_parts, monkeypatch):
    out = tmp_path / "best.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(module, "join_parts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            recommend_all(sasrec_export, [data], out, show_progress=False)
    parts = tmp_path / "best.parquet.parts"
    cut, overwritten = parts / "part-00001.parquet", parts / "part-00002.parquet"
    cut.write_bytes(cut.read_bytes()[:100])
    whole = overwritten.read_bytes()
    overwritten.write_bytes(whole[:4] + bytes(300) + whole[304:])  # the footer is as it was
    message = "part-00001.parquet and 1 more was damaged and is deleted. Run the same command again"
    with pytest.raises(InputError, match=message):
        recommend_all(sasrec_export, [data], out, show_progress=False)
    assert names(parts) == [".lock", "about.json", "part-00000.parquet", "part-00003.parquet"]
    recommend_all(sasrec_export, [data], out, show_progress=False)
    assert pl.read_parquet(out).height == 150


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["MODEL", "DATA", "--out", "best.csv"], "--out must be a file that ends in .parquet. Received: best.csv."),
        (["MODEL", "DATA", "--out", "there.parquet"], "there.parquet exists. Give another --out, or delete it first."),
        (["nowhere", "DATA", "--out", "a.parquet"], "nowhere is no folder"),
        (["MODEL", "nowhere.csv", "--out", "a.parquet"], "nowhere.csv does not exist"),
        (["MODEL", "DATA", "--out", "a.parquet", "--user-column", "who"], "columns apply to files of events only"),
        (["MODEL", "DATA", "DATA", "--out", "a.parquet"], "Give one prepared folder alone"),
        (
            ["MODEL", "DATA", "--out", "a.parquet", "--runner", "FlinkRunner"],
            "--beam-option need --engine beam",
        ),
    ],
)
def test_mistakes_cost_one_line(data, sasrec_export, tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.parquet").write_text("mine")
    places = {"MODEL": str(sasrec_export), "DATA": str(data)}
    with pytest.raises(SystemExit) as exit_:
        main(["recommend-all", *(places.get(argument, argument) for argument in arguments)])
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert text in error
    assert error.count("\n") == 1
    assert names(tmp_path) == ["there.parquet"]


def test_parts_of_another_model_are_refused(data, sasrec_export, tmp_path):
    parts = tmp_path / "best.parquet.parts"
    parts.mkdir()
    (parts / "about.json").write_text(json.dumps({"model": "another"}))
    with pytest.raises(InputError, match="made with another model and another histories"):
        recommend_all(sasrec_export, [data], tmp_path / "best.parquet", show_progress=False)


@pytest.mark.parametrize("name", [".lock", "about.json"])
def test_a_link_in_the_folder_of_parts_is_not_followed(tmp_path, name):
    (tmp_path / "best.parquet.parts").mkdir()
    (tmp_path / "best.parquet.parts" / name).symlink_to(tmp_path / "another")
    refused = f"{name} is a symbolic link, which is not followed. Delete the link"
    with pytest.raises(InputError, match=refused), parts_folder(tmp_path / "best.parquet", {"k": 1}):
        pass
    assert not (tmp_path / "another").exists()
