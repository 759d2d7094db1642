"""README's Python, run as it stands but for the port and the epochs."""

from __future__ import annotations

import re
from pathlib import Path

from laclrec_tf.serving import ModelServer

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FIT, ASK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_blocks_are_as_short_as_promised():
    assert len(FIT.splitlines()) <= 15
    assert len(ASK.splitlines()) <= 10


def test_fit(data, monkeypatch, capsys):
    monkeypatch.chdir(data.parent)
    assert "epochs=30" in FIT
    exec(FIT.replace("epochs=30", "epochs=1, verbose=0"), {})
    vocabulary = (data / "vocabulary.txt").read_text().split()
    printed = eval(capsys.readouterr().out)
    assert len(printed) == 5
    assert set(printed) <= set(vocabulary)


def test_ask(laclrec_export, capsys):
    with ModelServer("shop", laclrec_export, port=0) as server:
        port = server.start()
        assert "127.0.0.1:8500" in ASK
        exec(ASK.replace("127.0.0.1:8500", f"127.0.0.1:{port}"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3
