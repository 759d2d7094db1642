"""What commands share: lists of items, places in buckets, and when TensorFlow is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import pytest
import typer

from laclrec_tf.cli import main, options
from laclrec_tf.cli.options import Commands, parse_items, place_argument, place_option
from laclrec_tf.errors import InputError
from laclrec_tf.runtime import cloud_storage


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a,b", ["a", "b"]),
        (" a , b c ,", ["a", "b c"]),
        ("", []),
        (" , ,", []),
        ('"a,b",c', ["a,b", "c"]),
        ('c , "a,b" ,d', ["c", "a,b", "d"]),
        ('" a "', [" a "]),
        ('"6"" nail",6" nail', ['6" nail', '6" nail']),
        ('""', []),
    ],
)
def test_items_are_read_as_a_row_of_csv(text, items):
    assert parse_items(text) == items


@pytest.mark.parametrize("text", ['"a', '"a"b', 'a,"b""', '"a" "b"'])
def test_quotes_are_closed_and_enclose_the_whole_item(text):
    with pytest.raises(InputError, match="separated by commas.*Received"):
        parse_items(text)


def run(command, *arguments: str, tensorflow=False) -> int:
    app = Commands(pretty_exceptions_enable=False)
    app.command(tensorflow=tensorflow)(command)
    with pytest.raises(SystemExit) as exit_:
        main.run_app(app, "program", [*arguments])
    return exit_.value.code


def test_a_command_gets_the_paths_of_mounted_buckets(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cloud_storage, "MOUNT", tmp_path)
    (tmp_path / "shop").mkdir()
    received = []

    def command(
        data: Annotated[Path, place_argument()],
        out: Annotated[Path, place_option()] = Path("out"),
        config: Annotated[Path | None, place_option("--settings")] = None,
        history: Annotated[str, typer.Option()] = "",
    ) -> None:
        received.append((data, out, config, history))

    assert run(command, "gs://shop/data", "--out=gs://shop/run", "--history", "gs://shop/tent.jpg") == 0
    assert run(command, "data", "--settings", "gs://shop/a.yaml") == 0
    assert received == [
        (tmp_path / "shop/data", tmp_path / "shop/run", None, "gs://shop/tent.jpg"),
        (Path("data"), Path("out"), tmp_path / "shop/a.yaml", ""),
    ]
    assert run(command, "data", "--out", "gs://other/run") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"program: Invalid value for '--out': gs://other/run must be mounted at {tmp_path}/other")
    assert error.count("\n") == 1


def callbacks(group=main.app):
    """Yield the functions of all commands."""
    yield from (command.callback for command in group.registered_commands)
    for inner in group.registered_groups:
        yield from callbacks(inner.typer_instance)


def test_every_path_of_a_command_may_be_in_a_bucket():
    found = 0
    for callback in callbacks():
        for name, hint in get_type_hints(callback, include_extras=True).items():
            kind, *more = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
            if kind is Path or Path in get_args(kind):
                found += 1
                assert more[0].parser is options._place, f"{callback.__name__}: {name}"
    assert found > 30


@pytest.mark.parametrize(
    ("tensorflow", "arguments", "imported"),
    [
        (True, ["--k", "1"], ["TensorFlow", "command"]),
        (False, ["--k", "1"], ["command"]),
        (lambda given: given["k"] > 1, ["--k", "1"], ["command"]),
        (lambda given: given["k"] > 1, ["--k", "2"], ["TensorFlow", "command"]),
        (True, ["--k", "x"], []),
        (True, ["--help"], []),
    ],
)
def test_tensorflow_is_imported_for_commands_that_need_it(monkeypatch, tensorflow, arguments, imported):
    calls = []
    monkeypatch.setattr(options, "import_tensorflow_quietly", lambda: calls.append("TensorFlow"))

    def command(k: Annotated[int, typer.Option()] = 0) -> None:
        calls.append("command")

    run(command, *arguments, tensorflow=tensorflow)
    assert calls == imported
