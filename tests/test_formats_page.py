"""The page of formats: each of its commands reads the rows that are shown above it."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.data.item_vectors import read_titles
from laclrec_tf.data.prepared import PreparedData

PAGE = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'```text title="(.+?)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
PREPARED = {
    "ml100k": "196: 242 302, 186: 302",
    "ml1m": "1: 1193 661, 2: 1193",
    "ml100k-original": "196: 242, 186: 302",
    "counters": "ann: tent stove, bob: tent",
    "export": "007: tent, 8: stove",
    "carets": "007: tent, 8: stove",
    "beauty": "1: 5 6 7, 2: 6 8, 3: 9 5 6 1",
    "sessions": "1: tent stove lamp, 2: tent rope, 3: boots lamp rope tent",
    "carts": "1: tent stove lamp, 2: stove rope, 3: boots lamp rope tent",
    "log": "ann: tent stove, bob: stove",
    "stars": "ann: tent, bob: tent",
    "from-r": "ann: tent, bob: lamp",
    "partitions": "ann: tent lamp, bob: stove",
    "pattern": "ann: tent lamp, bob: stove",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the files of the page, and work beside them."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            pl.read_csv(io.StringIO(text)).write_parquet(file)
        else:
            file.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def histories(folder: Path) -> str:
    data = PreparedData.open(folder)
    users, found = data.histories()
    rows = zip(users, found, strict=True)
    return ", ".join(f"{user}: {' '.join(data.vocabulary.to_items(items.tolist()))}" for user, items in rows)


@pytest.mark.parametrize("command", [line for line in COMMANDS if " prepare " in line])
def test_a_command_reads_the_rows_above_it(shop, capsys, command):
    program, *arguments = shlex.split(command)
    assert program == "laclrec-tf"
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--min-interactions", "0"])
    assert exit_.value.code == 0, capsys.readouterr().err
    name = arguments[arguments.index("--out") + 1]
    assert histories(shop / name) == PREPARED[name]


def test_every_folder_of_the_page_is_compared():
    made = [shlex.split(line) for line in COMMANDS if " prepare " in line]
    assert [line[line.index("--out") + 1] for line in made] == list(PREPARED)


def test_the_python_of_the_page_runs(shop):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert histories(shop / "liked") == "1: 1193, 2: 1193"


def test_the_titles_of_the_page_are_read(shop):
    titled = [shlex.split(line) for line in COMMANDS if "--titles" in line]
    assert [line[1] for line in titled] == ["recommend", "report", "explore"]
    for line in titled:
        file, column = (line[line.index(option) + 1] for option in ("--titles", "--title-column"))
        assert read_titles(file, title_column=column) == {"242": "Kolya", "302": "L.A. Confidential"}
    Path("movies.dat").write_text("1::Toy Story (1995)::Animation\n2::GoldenEye (1995)::Action\n", encoding="utf-8")
    titles = read_titles("movies.dat", item_column="1", title_column="2")
    assert titles == {"1": "Toy Story (1995)", "2": "GoldenEye (1995)"}
