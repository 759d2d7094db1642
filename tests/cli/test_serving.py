"""Recommending for all users: places of the local engine."""

from __future__ import annotations

import os
from pathlib import Path

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
