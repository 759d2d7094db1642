"""The command that recommends for every user at once; `cli` adds it to its own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from laclrec_tf.runtime.cloud_storage import on_this_machine
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
from laclrec_tf.runtime.terminal import terminal
from pipelines.choices import Engine
from pipelines.engine_options import BeamOptions, EngineOption, RunnerOption

batch_app = typer.Typer()
console = terminal()
EVENTS = "Names of columns, for files of events"


@batch_app.command("recommend-all")
def recommend_all(
    model: Annotated[str, typer.Argument(help="saved_models/NAME, its newest version, or saved_models/NAME/VERSION.")],
    histories: Annotated[list[str], typer.Argument(help="A folder made by `prepare`, or files of events.")],
    out: Annotated[str, typer.Option(metavar="FILE.parquet", help="The table to make, a row for each user.")],
    k: Annotated[int, typer.Option(help="How many items a user.", min=1)] = 10,
    keep_history: Annotated[bool, typer.Option("--keep-history", help="Items of the history may come, too.")] = False,
    max_length: Annotated[
        int | None, typer.Option(help="Most recent events of each user. Default: 50, or as prepared.", min=1)
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="Default: user_id.", rich_help_panel=EVENTS)] = None,
    item_column: Annotated[str | None, typer.Option(help="Default: item_id.", rich_help_panel=EVENTS)] = None,
    time_column: Annotated[str | None, typer.Option(help="Default: timestamp.", rich_help_panel=EVENTS)] = None,
    engine: EngineOption = Engine.local,
    runner: RunnerOption = None,
    beam_option: BeamOptions = None,
) -> None:
    """Recommend items for every user, into one Parquet file; killed, it goes on where it was."""
    import_tensorflow_quietly()
    from laclrec_tf.beam.runner import pipelines_of

    names = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    settings: dict[str, Any] = {
        "k": k,
        "exclude_history": not keep_history,
        "max_length": max_length,
        "columns": {name: value for name, value in names.items() if value is not None},
    }
    pipelines = pipelines_of(engine.value, runner and runner.value, beam_option or [])
    if pipelines is None:
        from laclrec_tf.serving.local.recommend_all import recommend_all as run

        sources = [on_this_machine(source) for source in histories]
        users = run(on_this_machine(model), sources, on_this_machine(out), **settings)
    else:
        from laclrec_tf.beam.recommend_all import beam_recommend_all

        users = beam_recommend_all(model, histories, out, pipelines=pipelines, **settings)
    console.print(f"wrote {out}: {users:,} users")
