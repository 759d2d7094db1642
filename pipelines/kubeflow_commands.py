"""The commands for the Kubeflow pipeline; `cli` adds them to its own, as `laclrec-tf kubeflow ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
from laclrec_tf.runtime.terminal import terminal

kubeflow_app = typer.Typer(
    help="The whole as a Kubeflow pipeline: from events to a served model.", no_args_is_help=True
)
console = terminal()


@kubeflow_app.command("compile")
def compile_(
    out: Annotated[Path, typer.Option(help="The file to write, .yaml.")],
    image: Annotated[
        str | None, typer.Option(help="Of each step. Default: TensorFlow's own, with --package.", show_default=False)
    ] = None,
    package: Annotated[
        str | None, typer.Option(metavar="gs://...tar.gz", help="This package. Default: --image has it.")
    ] = None,
) -> None:
    """Write the pipeline as Vertex AI Pipelines and Kubeflow take it."""
    import_tensorflow_quietly()
    from pipelines.kubeflow import compile_pipeline

    console.print(f"wrote {compile_pipeline(out, image, package)}")


@kubeflow_app.command()
def run(
    served: Annotated[Path, typer.Argument(help="saved_models/NAME, the folder that is served.")],
    artifacts: Annotated[Path, typer.Option(help="Folder for what the steps make.")],
    events: Annotated[Path | None, typer.Option(help="A table of events. Default: simulated ones.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, see `laclrec-tf settings`. May be repeated."),
    ] = None,
) -> None:
    """Run the pipeline on this machine, each step in a process of its own."""
    import_tensorflow_quietly()
    from laclrec_tf.training.config import TrainConfig, parse_assignments
    from pipelines.kubeflow import run_here

    settings = parse_assignments(set_ or [])
    TrainConfig.of(settings)
    arguments: dict[str, Any] = {"served": str(served.resolve()), "settings": settings}
    if events is not None:
        arguments["events"] = str(events.resolve())
    verdict, reason = run_here(artifacts, arguments)
    console.print(f"{verdict}: {reason}", soft_wrap=True)
