"""Every command is one public, documented function, and docs/commands.md names it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import typer
from typer.main import get_command

from laclrec_tf.cli.main import app

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| `([^`]+)` \| [^|]+ \| \[`pipelines\.(\w+)\.(\w+)`\]\[pipelines\.\2\.\3\] \|$",
    (ROOT / "docs/commands.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def commands() -> dict[str, object]:
    """Return what runs each command, by the command's words."""
    found = {}

    def walk(command, words: tuple[str, ...]) -> None:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, (*words, name))
        elif not command.hidden:
            found[" ".join(words)] = command.callback

    walk(get_command(app), ())
    return found


def function_of(module: str, name: str) -> ast.FunctionDef:
    tree = ast.parse((ROOT / "pipelines" / f"{module}.py").read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found


def test_the_page_names_each_command():
    named = {command.partition(" --")[0] for command, _, _ in ROWS}
    assert isinstance(app, typer.Typer)
    assert named == set(commands())


def test_a_command_calls_the_function_that_the_page_names():
    callbacks = commands()
    for command, module, name in ROWS:
        source = inspect.getsource(callbacks[command.partition(" --")[0]])
        assert re.search(rf"from pipelines\.{module} import (?:\w+, )*{name}\b", source), command


def test_each_function_is_public_and_tells_its_arguments():
    for _, module, name in ROWS:
        function = function_of(module, name)
        text = ast.get_docstring(function) or ""
        assert not name.startswith("_")
        assert text
        arguments = [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]
        untold = [each for each in arguments if not re.search(rf"^\s+{each}: ", text, re.MULTILINE)]
        assert untold == [], f"{module}.{name}"


def test_each_function_has_its_place_in_the_reference():
    page = (ROOT / "docs/api/pipelines.md").read_text(encoding="utf-8")
    for _, module, name in ROWS:
        assert f"::: pipelines.{module}.{name}\n" in page
