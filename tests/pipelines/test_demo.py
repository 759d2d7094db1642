"""The demo, with fewer shoppers and one epoch."""

from __future__ import annotations

import re

import pytest

from laclrec_tf.errors import InputError
from pipelines import demo as demonstration
from pipelines.demo import demo


def test_the_demo_goes_the_whole_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demonstration, "DEMO_SETTINGS", {"width": 8, "epochs": 1})
    monkeypatch.setattr(demonstration, "DEMO_EVENTS", {"users": 300, "items": 36, "noise": 0.15})
    demo(tmp_path / "demo", seed=1)
    out = capsys.readouterr().out
    assert re.search(r"300 shoppers, 36 items, [\d,]+ events", out)
    assert re.search(r"recall@10 0\.\d{3}", out)
    assert "What the augmenter did" in out
    assert out.count(" *") >= 6, "three histories have two planted noise events at least"
    assert (tmp_path / "demo/saved_models/demo/1/saved_model.pb").is_file()

    with pytest.raises(InputError, match="is not empty"):
        demo(tmp_path / "demo")
