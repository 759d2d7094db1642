"""The commands of README and docs: each script exists and has the options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "pipelines").glob("*.py"))


def commands() -> dict[str, str]:
    """Return the commands of all pages, with the options of the page's other commands of the same script."""
    pages = [ROOT / "pipelines/README.md", ROOT / "docs/scaling.md", *SCRIPTS]
    text = "\n".join(page.read_text(encoding="utf-8").replace("\\\n", " ") for page in pages)
    found: dict[str, str] = {}
    for script, word, rest in re.findall(r"^ *python pipelines/(\w+\.py) (\S+)(.*)$", text, re.MULTILINE):
        name = f"{script} {word}" if script == "kubeflow.py" else script
        found[name] = found.get(name, "") + rest
    return found


@pytest.mark.parametrize(("command", "arguments"), commands().items())
def test_options_exist(script, monkeypatch, command, arguments):
    monkeypatch.setenv("COLUMNS", "200")
    page = script(*command.split(), "--help")
    options = set(re.findall(r" (--[a-z][\w-]*)", arguments))
    assert options and options <= set(re.findall(r"--[a-z][\w-]*", page))


def test_every_script_has_a_command():
    assert {name.split()[0] for name in commands()} == {file.name for file in SCRIPTS}
