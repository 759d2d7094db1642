"""Text is printed unchanged."""

import pytest
from rich.table import Table

from laclrec_tf.runtime.terminal import terminal


@pytest.mark.parametrize("name", ["b[/b]", "a[red]x", "c[bold]", ":cat:", "[link=x]y", "a\\[b]"])
def test_names_are_printed_unchanged(capsys, name):
    console = terminal()
    console.print(f"wrote {name}")
    table = Table("item", title=name, caption=name)
    table.add_row(name)
    console.print(table)
    assert capsys.readouterr().out.count(name) == 4


def test_lines_are_not_broken(capsys):
    line = "a folder " * 40
    terminal(stderr=True).print(line)
    assert capsys.readouterr().err == line + "\n"
