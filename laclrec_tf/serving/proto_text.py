"""Files in protobuf's text format, with errors that say which line to mend."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import message, text_format

from laclrec_tf.errors import InputError, reason_of

Proto = TypeVar("Proto", bound=message.Message)


def read_proto_text(path: Path, proto: Proto, example: str) -> tuple[str, Proto]:
    """Read a file into a message.

    Args:
        path: the file.
        proto: an empty message of the type that the file holds; it is filled.
        example: what the file should look like, for the error.

    Returns:
        The file's text and the message.

    Raises:
        InputError: the file cannot be read, is no UTF-8, or is not in the format.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"Cannot read {path}: byte {error.start} is not UTF-8. An example: {example}") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {reason_of(error)}.") from error
    try:
        return text, text_format.Parse(text, proto)
    except text_format.ParseError as error:
        raise InputError(f"{path}{_place_and_problem(text, error)}. An example: {example}") from error


def _place_and_problem(text: str, error: text_format.ParseError) -> str:
    line, column = error.GetLine(), error.GetColumn()
    if line is None:
        return f": {error}".rstrip(".")
    # protobuf quotes the whole line, which may be long.
    problem = str(error).removeprefix(f"{line}:{column} : ")
    problem = problem.removeprefix(f"'{text.splitlines()[line - 1]}': ")
    return f", line {line}, column {column}: {problem}".rstrip(".")


def proto_lines(text: str, field: str, depth: int) -> list[int]:
    """Find the lines on which a field's values begin.

    Args:
        text: valid text format.
        field: the field's name.
        depth: how many messages it lies in.

    Returns:
        Line numbers from 1, in the file's order. A list written in brackets counts once.

    Example:
        >>> proto_lines("models {\\n  config { name: 'a' }\\n  config { name: 'b' }\\n}", "config", depth=1)
        [2, 3]
    """
    tokenizer = text_format.Tokenizer(text.splitlines())
    lines, level = [], 0
    while not tokenizer.AtEnd():
        if tokenizer.token in ("{", "<"):
            level += 1
        elif tokenizer.token in ("}", ">"):
            level -= 1
        elif tokenizer.token == field and level == depth:
            lines.append(tokenizer.ParseError("").GetLine())
        tokenizer.NextToken()
    return lines
