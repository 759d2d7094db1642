"""What the commands share: how they start, the types of their options, and options that several of them have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import reachable
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly, silence_grpc

Function = TypeVar("Function", bound=Callable[..., Any])


class Commands(typer.Typer):
    """Commands that import TensorFlow without its start-up messages, after their arguments are parsed.

    So `--help` and wrong arguments are answered at once.
    """

    def command(
        self,
        name: str | None = None,
        *,
        tensorflow: bool | Callable[[Mapping[str, Any]], bool] = True,
        **settings: Any,
    ) -> Callable[[Function], Function]:
        """Register a function as a command.

        Args:
            name: name of the command. Default: the function's.
            tensorflow: whether to import TensorFlow before the function runs, or a function that decides it from the
                command's parsed arguments. Default: True.
            **settings: arguments of `typer.Typer.command`.
        """
        register = super().command(name, **settings)

        def add(function: Function) -> Function:
            @wraps(function)
            def run(**given: Any) -> Any:
                silence_grpc()
                os.environ["KERAS_BACKEND"] = "tensorflow"  # a command chooses the backend, whatever notebooks use
                if tensorflow(given) if callable(tensorflow) else tensorflow:
                    import_tensorflow_quietly()
                return function(**given)

            register(run)
            return function

        return add


def refuse_without_effect(context: typer.Context, **reasons: str | bool) -> None:
    """Refuse options that are on the command line, also with their defaults, but change nothing beside the others.

    Args:
        context: context of the command.
        **reasons: parameter of the command -> why it changes nothing, such as "without --titles"; False if it does
            change something.

    Raises:
        InputError: such an option is given.
    """
    for parameter in context.command.params:
        reason = reasons.get(parameter.name or "")
        source = context.get_parameter_source(parameter.name or "")
        if reason and source is not None and source.name == "COMMANDLINE":
            raise InputError(f"{parameter.opts[0]} changes nothing {reason}. Leave it out.")


def refuse_columns_of_titles(context: typer.Context, titles: Path | None) -> None:
    """Refuse the columns of titles without `--titles`, see `refuse_without_effect`."""
    why = titles is None and "without --titles"
    refuse_without_effect(context, title_column=why, title_item_column=why)


def _place(given: str | Path) -> Path:
    try:
        return reachable(str(given))
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


# Options and arguments that take a path, or `gs://...` of a mounted bucket. The command receives a path.
place_option = partial(typer.Option, parser=_place, metavar="PATH")
place_argument = partial(typer.Argument, parser=_place)


class Split(StrEnum):
    """Which held-out item is ranked."""

    test = "test"
    validation = "validation"


class Edits(StrEnum):
    """Whether predictions are mixed over the edits of a history."""

    chosen = "chosen"
    none = "none"
    uniform = "uniform"
    learned = "learned"


class Protocol(StrEnum):
    """Which items the held-out item is ranked against."""

    full = "full"
    full_with_history = "full-with-history"
    sampled_99 = "sampled-99"


class Duplicates(StrEnum):
    """What happens to repeated events of the same user, item and time."""

    drop = "drop"
    keep = "keep"


class Window(StrEnum):
    """What is kept of histories of more events than a model reads."""

    last = "last"
    sliding = "sliding"


class HoldOut(StrEnum):
    """What evaluation holds out of the events."""

    last = "last"
    time = "time"
    session = "session"


class Ties(StrEnum):
    """The order of events of a user that share a time."""

    keep = "keep"
    shuffle = "shuffle"


class FileLayout(StrEnum):
    """What a line of a text file is."""

    events = "events"
    histories = "histories"
    item_lists = "item-lists"


class NoiseKind(StrEnum):
    """What noise is, and how its items are drawn."""

    popular = "popular"
    uniform = "uniform"
    replaced = "replace"  # `replace` is a method of text


class NoiseDraw(StrEnum):
    """How the items of noise are drawn."""

    uniform = "uniform"
    popular = "popular"


class NoisePlace(StrEnum):
    """Where noise is in a history."""

    anywhere = "anywhere"
    last = "last"


class Signature(StrEnum):
    """Which signature of a model a load test calls."""

    serving_default = "serving_default"
    retrieve = "retrieve"


class IndexKind(StrEnum):
    """How an exported model searches its catalogue."""

    exact = "exact"
    partitioned = "partitioned"


class LogFormat(StrEnum):
    """Format of a server's log."""

    text = "text"
    json = "json"


class Engine(StrEnum):
    """What processes a table: this process, or Apache Beam."""

    local = "local"
    beam = "beam"


class Runner(StrEnum):
    """What executes a Beam pipeline."""

    DirectRunner = "DirectRunner"
    DataflowRunner = "DataflowRunner"
    FlinkRunner = "FlinkRunner"
    SparkRunner = "SparkRunner"


Run = Annotated[Path, place_argument(help="Run folder made by `train` or `grow`.")]
NewRun = Annotated[Path, place_option(help="Run folder to create.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, see `laclrec-tf settings`. May be repeated."),
]
ConfigFile = Annotated[Path | None, place_option(help="YAML file of settings; --set overrides it.")]
EditsOption = Annotated[
    Edits,
    typer.Option(help="Mix the predictions over edits of each history, as calibration chose, or otherwise."),
]
JsonOut = Annotated[Path | None, place_option("--json", help="Also write the report to this file.")]
UserColumn = Annotated[str, typer.Option(metavar="NAME", help="Column of the user ids.")]
ItemColumn = Annotated[str, typer.Option(metavar="NAME", help="Column of the item ids.")]
TimeColumn = Annotated[str, typer.Option(metavar="NAME", help="Column of the times: integers, floats or ISO text.")]
EngineOption = Annotated[Engine, typer.Option("--engine", metavar="ENGINE", help="local, or beam: Apache Beam.")]
RunnerOption = Annotated[
    Runner | None,
    typer.Option(
        "--runner",
        metavar="RUNNER",
        help="DirectRunner (here, the default), DataflowRunner, FlinkRunner or SparkRunner.",
    ),
]
BeamOptions = Annotated[
    list[str] | None,
    typer.Option("--beam-option", metavar="NAME=VALUE", help="Option of Beam. May be repeated."),
]
Recall = Annotated[
    float | None,
    typer.Option(help="Partitioned index: share of the 20 best items that it must find. Default: 0.98."),
]
Partitions = Annotated[
    int | None,
    typer.Option(help="Partitioned index: initial number of partitions. Default: square root of the number of items."),
]
Int8 = Annotated[bool, typer.Option("--int8", help="Partitioned index: search with 8-bit vectors.")]
Titles = Annotated[
    Path | None, place_option(metavar="FILE", help="File of items and titles.", rich_help_panel="Titles")
]
TitleColumn = Annotated[str, typer.Option(metavar="NAME", help="Column of the titles.", rich_help_panel="Titles")]
TitleItemColumn = Annotated[str, typer.Option(metavar="NAME", help="Column of the item ids.", rich_help_panel="Titles")]
K = Annotated[int, typer.Option(metavar="N", help="Number of recommended items.", min=1)]
ExcludeHistory = Annotated[
    bool | None,
    typer.Option(
        "--exclude-history/--keep-history",
        help="Recommend no item of the history. Default: as the data or run says.",
        rich_help_panel="History",  # both names in one table with others would leave them no room
        show_default=False,
    ),
]

METRICS = ("recall", "ndcg", "mrr")

# Quoted, with "" for a quote inside, or bare up to the next comma; spaces around either are ignored.
_FIELD = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^",][^,]*)?)\s*(?:,|$)')


def parse_items(text: str) -> list[str]:
    """Parse a list of items like a row of a CSV file.

    Args:
        text: items separated by commas, e.g. `tent,stove`. An item that contains a comma, or starts or ends with a
            space, must be quoted. Empty fields are skipped.

    Returns:
        The items in order.

    Raises:
        InputError: a quote is not closed, or text follows a closing quote.

    Example:
        >>> parse_items('tent, "pots, pans",,"6"" nail"')
        ['tent', 'pots, pans', '6" nail']
    """
    items = []
    position = 0
    while position < len(text):
        field = _FIELD.match(text, position)
        if field is None:
            raise InputError(
                "Items must be separated by commas, and an item with a comma must be in quotes: 'tent,\"pots, pans\"'. "
                f"Received: {text[position:]!r}."
            )
        items.append(
            field["quoted"].replace('""', '"') if field["quoted"] is not None else (field["bare"] or "").rstrip()
        )
        position = field.end()
    return [item for item in items if item]


def cut_offs(text: str) -> list[int]:
    """Parse the cut-offs of metrics.

    Raises:
        InputError: one of them is not a whole number of at least 1.

    Example:
        >>> cut_offs("1,10")
        [1, 10]
    """
    fields = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() and int(each) for each in fields):
        raise InputError(f"Option --k must be whole numbers of at least 1, such as 1,10. Received: {text!r}.")
    return sorted({int(each) for each in fields})


def metric_names(text: str) -> list[str]:
    """Parse the names of metrics.

    Raises:
        InputError: one of them is unknown.

    Example:
        >>> metric_names("ndcg,recall")
        ['ndcg', 'recall']
    """
    names = [each.strip() for each in text.split(",")]
    for name in names:
        if name not in METRICS:
            raise InputError(f"Option --metrics must be some of {', '.join(METRICS)}. Received: {name!r}.")
    return names
