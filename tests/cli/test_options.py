"""What commands share: lists of items, options without effect, places in buckets, and when TensorFlow is imported."""

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


PREPARE, TRAIN = "prepare events.csv --out data", "train data --out run"
GROW = "grow run --vocabulary items.txt --out grown"
DEPLOY = "vertex deploy gs://shop/model --project p"
IN_COUNTED = "for the preset bigram, which is counted and not trained"


@pytest.mark.parametrize(
    ("command", "option", "reason"),
    [
        # The value of each option is its default.
        (PREPARE, "--seed 0", "without --ties shuffle"),
        (f"{PREPARE} --ties keep", "--seed 3", "without --ties shuffle"),
        (PREPARE, "--rating-column rating", "without --min-rating"),
        (f"{PREPARE} --no-time", "--time-column timestamp", "with --no-time"),
        (f"{PREPARE} --layout item-lists", "--user-column user_id", "with --layout item-lists"),
        (f"{PREPARE} --layout histories", "--time-column timestamp", "with --layout histories"),
        (f"{TRAIN} --preset bigram", "--no-boards", IN_COUNTED),
        (f"{TRAIN} --set preset=bigram", "--checkpoint-minutes 10", IN_COUNTED),
        (f"{TRAIN} --preset bigram --resume", "--finish", IN_COUNTED),
        (GROW, "--item-column item_id", "without --events"),
        ("evaluate run", "--seed 0", "without --noise and --protocol sampled-99"),
        ("evaluate run --protocol full", "--seed 0", "without --noise and --protocol sampled-99"),
        ("report run --out report.html", "--title-column title", "without --titles"),
        ("recommend --history a --model m", "--title-item-column item_id", "without --titles"),
        ("explore --model m", "--title-column title", "without --titles"),
        ("index-benchmark run", "--items 1000000", "with a run, whose vectors are searched"),
        (DEPLOY, "--accelerator-count 1", "without --accelerator"),
        (DEPLOY, "--bucket gs://shop", "for a model that is in a bucket already"),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, monkeypatch, capsys, command, option, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main.main([*command.split(), *option.split()])
    out, error = capsys.readouterr()
    assert (exit_.value.code, out) == (2, "")
    assert error == f"laclrec-tf: {option.split()[0]} changes nothing {reason}. Leave it out.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (f"{PREPARE} --ties shuffle --seed 0", "events.csv does not exist"),
        (f"{PREPARE} --min-rating 3 --rating-column rating", "events.csv does not exist"),
        (f"{PREPARE} --layout events --time-column timestamp", "events.csv does not exist"),
        (f"{TRAIN} --preset sasrec --epochs 100 --no-boards", "data is not prepared data"),
        (f"{TRAIN} --preset bigram --seed 0 --resume", "data is not prepared data"),
        ("evaluate run --noise 0 --seed 0", "run.json is missing"),
        ("evaluate run --protocol sampled-99 --seed 0", "run.json is missing"),
    ],
)
def test_an_option_with_an_effect_is_taken(tmp_path, monkeypatch, capsys, command, error):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main.main(command.split())
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("given", ["--epochs 100", "--set epochs=100", "--config settings.yaml"])
def test_a_counted_preset_has_no_epochs_wherever_they_are_given(tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text("epochs: 100\n")
    with pytest.raises(SystemExit) as exit_:
        main.main([*TRAIN.split(), "--preset", "bigram", *given.split()])
    assert exit_.value.code == 2
    assert f"'epochs' changes nothing {IN_COUNTED}. Received: epochs=100." in capsys.readouterr().err


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
