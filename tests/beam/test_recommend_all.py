"""Recommendations for all users on Beam: the local engine's rows."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from laclrec_tf.beam.recommend_all import beam_recommend_all
from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.local.recommend_all import recommend_all

pytestmark = pytest.mark.usefixtures("quick_loads")


def same_rows(beam: pl.DataFrame, local: pl.DataFrame) -> None:
    assert beam.schema == local.schema
    beam, local = beam.sort("user_id"), local.sort("user_id")
    assert beam.drop("scores").equals(local.drop("scores"))
    for scores, expected in zip(beam["scores"].to_list(), local["scores"].to_list(), strict=True):
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_a_prepared_folder(data, sasrec_export, tmp_path, capsys):
    recommend_all(sasrec_export, [data], tmp_path / "local.parquet", k=4, show_progress=False)
    out = tmp_path / "beam.parquet"
    with pytest.raises(SystemExit) as exit_:
        main(["recommend-all", str(sasrec_export), str(data), "--out", str(out), "--k", "4", "--engine", "beam"])
    assert (exit_.value.code, capsys.readouterr().out) == (0, f"wrote {out}: 150 users\n")
    same_rows(pl.read_parquet(out), pl.read_parquet(tmp_path / "local.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beam.parquet", "local.parquet"]
    with pytest.raises(InputError, match="beam.parquet exists. Give another --out, or delete it first."):
        beam_recommend_all(str(sasrec_export), [str(data)], str(out))


def test_files_of_events_and_one_version(data, sasrec_export, tmp_path):
    events = pl.read_csv(data.parent / "events.csv").rename({"user_id": "who"})
    events[:900].write_csv(tmp_path / "1.csv")
    events[900:].write_csv(tmp_path / "2.csv")
    arguments = {"max_length": 4, "exclude_history": False, "columns": {"user_column": "who"}}
    files = [str(tmp_path / "1.csv"), str(tmp_path / "2.csv")]
    version = str(sasrec_export / "1")
    recommend_all(version, files, tmp_path / "local.parquet", show_progress=False, **arguments)
    users = beam_recommend_all(version, [f"{tmp_path}/*.csv"], str(tmp_path / "beam.parquet"), **arguments)
    assert users == 150
    same_rows(pl.read_parquet(tmp_path / "beam.parquet"), pl.read_parquet(tmp_path / "local.parquet"))


def test_names_that_look_like_patterns(data, sasrec_export, tmp_path, monkeypatch):
    model, histories = tmp_path / "shop [1]", tmp_path / "data?"
    shutil.copytree(sasrec_export, model)
    shutil.copytree(data, histories)
    for name in ("best [1].parquet", "best*.parquet"):
        with pytest.raises(InputError, match="cannot have them. Received: .* Give another name."):
            beam_recommend_all(str(model), [str(histories)], str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data?", "shop [1]"]
    monkeypatch.chdir(tmp_path)  # a relative path, which starts with the pattern
    assert beam_recommend_all(model.name, [str(histories)], str(tmp_path / "best.parquet"), k=1) == 150


def test_no_version_no_pipeline(data, tmp_path):
    with pytest.raises(InputError, match="holds no version of a model"):
        beam_recommend_all(str(tmp_path), [str(data)], str(tmp_path / "a.parquet"))
    assert list(tmp_path.iterdir()) == []
