"""Events to recommendations for every user, on Beam."""

from __future__ import annotations

import polars as pl


def test_every_user_gets_recommendations(script, data, sasrec_export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = data.parent / "events.csv"
    arguments = [events, "--model", sasrec_export, "--data", "data", "--out", "best.parquet", "--k", "3"]
    printed = script("beam.py", *arguments, "--min-interactions", "1").splitlines()
    assert printed[0].startswith("wrote data: 150 users, 150 items, ")
    assert printed[1] == "wrote best.parquet: 150 users"
    for file in data.iterdir():
        assert (tmp_path / "data" / file.name).read_bytes() == file.read_bytes()
    assert set(pl.read_parquet("best.parquet")["item_ids"].list.len()) == {3}
    assert "data is not empty" in script("beam.py", *arguments, code=2)


def test_a_mistake_as_a_process(process, tmp_path):
    arguments = ["events.csv", "--model", "shop", "--data", "data", "--out", "best.parquet"]
    done = process("beam.py", *arguments, "--beam-option", "no_such_option=1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("beam.py: --beam-option 'no_such_option=1' is no option")
        and done.stderr.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []
