"""The options of a command that runs in this process or on Apache Beam."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.choices import Engine, Runner

EngineOption = Annotated[Engine, typer.Option("--engine", help="This process, or Apache Beam; the result is the same.")]
RunnerOption = Annotated[Runner | None, typer.Option("--runner", help="Of Beam. Default: DirectRunner, this machine.")]
BeamOptions = Annotated[
    list[str] | None,
    typer.Option("--beam-option", metavar="NAME=VALUE", help="Of Beam or its runner. May be repeated."),
]
