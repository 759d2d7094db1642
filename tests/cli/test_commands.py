"""Every command calls one public, documented function, and docs/commands.md names it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

from typer.main import get_command

from laclrec_tf.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
# Command, module and function of each row.
ROWS = re.findall(
    r"^\| `([^`]+)` \| [^|]+ \| \[`(laclrec_tf[\w.]*)\.(\w+)`\]\[\2\.\3\] \|$",
    (DOCS / "commands.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def commands() -> dict[str, object]:
    """Return the function that runs each command, by the command's words."""
    found = {}

    def walk(command, words: tuple[str, ...]) -> None:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, (*words, name))
        else:
            found[" ".join(words)] = command.callback

    walk(get_command(app), ())
    return found


def test_the_page_names_each_command():
    assert {command.partition(" --")[0] for command, _, _ in ROWS} == set(commands())


def test_a_command_calls_the_function_that_the_page_names():
    callbacks = commands()
    for command, module, name in ROWS:
        source = inspect.getsource(callbacks[command.partition(" --")[0]])
        assert re.search(rf"from {re.escape(module)} import (?:\w+, )*{name}\b", source), command


def test_each_function_documents_its_arguments():
    for _, module, name in ROWS:
        function = getattr(import_module(module), name)
        text = inspect.getdoc(function) or ""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        arguments = [each.name for each in inspect.signature(function).parameters.values() if each.kind not in kinds]
        undocumented = [each for each in arguments if not re.search(rf"^\s+{each}: ", text, re.MULTILINE)]
        assert text
        assert undocumented == [], f"{module}.{name}"


def test_each_function_is_in_the_reference():
    reference = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    for _, module, name in ROWS:
        assert f"::: {module}.{name}\n" in reference
