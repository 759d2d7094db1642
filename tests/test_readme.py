"""README's Python, run as it stands but for the port and the epochs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from laclrec_tf.serving import ModelServer
from pipelines.config import TrainConfig
from pipelines.export import export
from pipelines.prepare import prepare
from pipelines.simulate import simulate_events
from pipelines.train import train

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FIT, ASK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return a folder with the data, a run and its export."""
    folder = tmp_path_factory.mktemp("shop")
    simulate_events(folder / "events.csv", users=120, items=40, seed=4)
    prepare([folder / "events.csv"], folder / "data")
    config = TrainConfig.of({"width": 8, "epochs": 1})
    train(folder / "data", folder / "run", config, show_progress=False)
    export(folder / "run", folder / "saved_models" / "shop")
    return folder


def test_the_blocks_are_as_short_as_promised():
    assert len(FIT.splitlines()) <= 15
    assert len(ASK.splitlines()) <= 10


def test_fit(shop, monkeypatch, capsys):
    monkeypatch.chdir(shop)
    assert "epochs=30" in FIT
    exec(FIT.replace("epochs=30", "epochs=1, verbose=0"), {})
    vocabulary = (shop / "data/vocabulary.txt").read_text().split()
    printed = eval(capsys.readouterr().out)
    assert len(printed) == 5
    assert set(printed) <= set(vocabulary)


def test_ask(shop, capsys):
    with ModelServer("shop", shop / "saved_models/shop", port=0) as server:
        port = server.start()
        assert "127.0.0.1:8500" in ASK
        exec(ASK.replace("127.0.0.1:8500", f"127.0.0.1:{port}"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3
