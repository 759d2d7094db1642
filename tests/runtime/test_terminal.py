"""Text is printed unchanged."""

import io
import warnings

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laclrec_tf.errors import LACLRecWarning
from laclrec_tf.runtime.terminal import escape_controls, readable_warnings, spinner, terminal


@pytest.mark.parametrize("name", ["b[/b]", "a[red]x", "c[bold]", ":cat:", "[link=x]y", "a\\[b]"])
def test_names_are_printed_unchanged(capsys, name):
    console = terminal()
    console.print(f"wrote {name}")
    table = Table("item", title=name, caption=name)
    table.add_row(name)
    console.print(table)
    assert capsys.readouterr().out.count(name) == 4


# What terminals and readers of lines act on: escape sequences of 7 and 8 bits, line ends of all kinds, a carriage
# return that overwrites the line, marks that reverse the text, and bytes of a file name that are not UTF-8.
CONTROLS = "\x1b[2J\x9b2J\n\r\t\x0b\x0c\x1c\x85\u2028\u2029\u202e\x00\x07\x08\x7f\udcff"


def test_control_characters_are_escaped():
    assert escape_controls("zelt-groß テント 🏕\u00a0\\n") == "zelt-groß テント 🏕\u00a0\\n"
    escaped = escape_controls(CONTROLS)
    assert escaped.startswith("\\x1b[2J\\x9b2J\\n\\r\\t") and escaped.endswith("\\x7f\\udcff") and escaped.isprintable()
    assert escape_controls("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_no_name_reaches_the_terminal_with_control_characters(capsys):
    console, name = terminal(), f"tent{CONTROLS}"
    console.print(f"wrote {name}")
    table = Table("item", title=name, caption=name)
    table.add_row(name)
    console.print(table)
    console.print(Text("tent\x1b[2J\x85"))
    with readable_warnings(console):
        warnings.warn(name, LACLRecWarning, stacklevel=1)
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable() and printed.count("tent\\x1b[2J") == 6


def test_lines_are_not_broken(capsys):
    line = "a folder " * 40
    terminal(stderr=True).print(line)
    assert capsys.readouterr().err == line + "\n"


def test_our_warnings_are_one_line_and_others_are_shown_as_before():
    console = Console(file=io.StringIO(), width=200)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with readable_warnings(console):
            warnings.warn("Epoch 3: the augmenter keeps 99 %", LACLRecWarning, stacklevel=1)
    assert console.file.getvalue() == "warning: Epoch 3: the augmenter keeps 99 %\n"
    with pytest.warns(UserWarning, match="something else"), readable_warnings(console):
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert "else" not in console.file.getvalue()
    before = console.file.getvalue()
    with pytest.warns(LACLRecWarning), readable_warnings(console, disable=True):
        warnings.warn("Epoch 4: the augmenter keeps 99 %", LACLRecWarning, stacklevel=1)
    assert console.file.getvalue() == before


def test_a_spinner_names_the_work_on_a_terminal_only():
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal)
        with spinner("exporting run[/b]", console):
            pass
        assert ("exporting run[/b]" in console.file.getvalue()) == is_terminal
