"""What options of the command line choose between; `--help` lists the values."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from laclrec_tf.errors import InputError

# Quoted, with "" for a quote inside, or bare up to the next comma; spaces around either do not count.
_FIELD = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^",][^,]*)?)\s*(?:,|$)')


class Split(StrEnum):
    """Which held-out item is ranked."""

    test = "test"
    validation = "validation"


class Protocol(StrEnum):
    """What the held-out item is ranked against."""

    full = "full"
    full_with_history = "full-with-history"
    sampled_99 = "sampled-99"


class Duplicates(StrEnum):
    """What happens to events that say the same twice."""

    drop = "drop"
    keep = "keep"


class Signature(StrEnum):
    """What a load test asks a model for."""

    serving_default = "serving_default"
    retrieve = "retrieve"


class IndexKind(StrEnum):
    """How an exported model finds the best items of its catalogue."""

    exact = "exact"
    partitioned = "partitioned"


class LogFormat(StrEnum):
    """How a server's log is written."""

    text = "text"
    json = "json"


class Engine(StrEnum):
    """What works on a table: this process, or Apache Beam."""

    local = "local"
    beam = "beam"


class Runner(StrEnum):
    """What executes a Beam pipeline."""

    DirectRunner = "DirectRunner"
    DataflowRunner = "DataflowRunner"
    FlinkRunner = "FlinkRunner"
    SparkRunner = "SparkRunner"


EngineOption = Annotated[Engine, typer.Option("--engine", help="This process, or Apache Beam; the result is the same.")]
RunnerOption = Annotated[Runner | None, typer.Option("--runner", help="Of Beam. Default: DirectRunner, this machine.")]
BeamOptions = Annotated[
    list[str] | None,
    typer.Option("--beam-option", metavar="NAME=VALUE", help="Of Beam or its runner. May be repeated."),
]


def parse_items(text: str) -> list[str]:
    """Read a list of items, as a row of a CSV file is read.

    Args:
        text: `tent,stove`; an item that holds a comma or begins or ends with a space stands in quotes. Places without
            an item are skipped.

    Returns:
        The items in order.

    Raises:
        InputError: a quote is not closed, or something stands behind a closing quote.

    Example:
        >>> parse_items('tent, "pots, pans",,"6"" nail"')
        ['tent', 'pots, pans', '6" nail']
    """
    items = []
    place = 0
    while place < len(text):
        field = _FIELD.match(text, place)
        if field is None:
            raise InputError(
                f"Items are separated by commas, and one with a comma stands in quotes: 'tent,\"pots, pans\"'. "
                f"Received: {text[place:]!r}."
            )
        items.append(
            field["quoted"].replace('""', '"') if field["quoted"] is not None else (field["bare"] or "").rstrip()
        )
        place = field.end()
    return [item for item in items if item]
