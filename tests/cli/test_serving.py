"""Recommending for all users: places of the local engine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.runtime import cloud_storage


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize(
    ("scheme", "says"),
    [("s3", "is not a local path."), ("gs", "must be mounted at /gcs/no-such-bucket")],
)
def test_the_local_engine_refuses_other_places(tmp_path, monkeypatch, capsys, at, scheme, says):
    monkeypatch.chdir(tmp_path)
    given = ["saved_models/shop", "data", "--out", "best.parquet"]
    given[at] = f"{scheme}://no-such-bucket/best.parquet"
    with pytest.raises(SystemExit) as exit_:
        main(["recommend-all", *given])
    error = capsys.readouterr().err
    assert (exit_.value.code, error.count("\n")) == (2, 1)
    assert f"{given[at]} {says}" in error
    assert os.listdir() == []


def test_mounted_buckets_are_read_and_written(tmp_path, monkeypatch, capsys):
    received = []
    monkeypatch.setattr(
        "laclrec_tf.serving.local.recommend_all.recommend_all", lambda *places, **_: received.extend(places) or 3
    )
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    with pytest.raises(SystemExit) as exit_:
        main(["recommend-all", "gs://shop/model", "gs://shop/data", "--out", "gs://shop/best.parquet"])
    assert exit_.value.code == 0
    shop = Path(tmp_path, "shop")
    assert received == [shop / "model", [shop / "data"], shop / "best.parquet"]
    assert capsys.readouterr().out == "wrote gs://shop/best.parquet: 3 users\n"


def test_titles_are_shown_beside_the_recommended_items(tmp_path, monkeypatch, capsys):
    answer = SimpleNamespace(item_ids=("302", "7"), scores=(0.5, 0.25), unknown=0)
    monkeypatch.setattr("laclrec_tf.serving.local.recommend.recommend", lambda *_, **__: answer)
    (tmp_path / "ml.item").write_text("item_id:token\tmovie_title:token_seq\n302\tL.A. Confidential\n")
    given = ["recommend", "--history", "242", "--server", "localhost:1", "--model-name", "shop"]
    titles = ["--titles", str(tmp_path / "ml.item"), "--title-column", "movie_title"]
    shown = []
    for more in ([], titles, [*titles, "--json"]):
        with pytest.raises(SystemExit):
            main([*given, *more])
        shown.append(capsys.readouterr().out)
    assert "L.A. Confidential" not in shown[0] and "title" not in shown[0]
    assert [line.split("\u2502")[-2].strip() for line in shown[1].splitlines() if "0." in line] == [
        "L.A. Confidential",
        "",
    ]
    assert json.loads(shown[2])["titles"] == ["L.A. Confidential", None]
    with pytest.raises(SystemExit) as exit_:
        main([*given, *titles[:2]])
    assert exit_.value.code == 2
    assert "no column 'title'. Did you mean --title-column movie_title" in capsys.readouterr().err
