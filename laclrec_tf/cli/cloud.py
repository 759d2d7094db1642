"""The commands `laclrec-tf vertex ...`: train and serve on Google Cloud's Vertex AI."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
from laclrec_tf.runtime.terminal import terminal

console = terminal()
vertex_app = typer.Typer(help="Train and serve on Google Cloud's Vertex AI.", no_args_is_help=True)
Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Google Cloud project.")]
Region = Annotated[str, typer.Option(help="Where the machines are; the bucket should be there too.")]
Name = Annotated[str | None, typer.Option(help="Default: laclrec- and the time.", show_default=False)]
MachineType = Annotated[str, typer.Option(metavar="TYPE", help="Of each machine.")]
Accelerator = Annotated[str | None, typer.Option(metavar="TYPE", help="NVIDIA_TESLA_T4, for one. Default: none.")]
AcceleratorCount = Annotated[int, typer.Option(metavar="N", help="Accelerators a machine.", min=1)]
ServiceAccount = Annotated[str | None, typer.Option(metavar="EMAIL", help="To run as. Default: Vertex AI's own.")]
Label = Annotated[list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="May be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be asked for, as YAML, and ask nobody.")]
ApiEndpoint = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Of Vertex AI's API. Default: the region's.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, see `laclrec-tf settings`. May be repeated."),
]


@vertex_app.command()
def train(
    data: Annotated[str, typer.Argument(help="A folder made by `prepare`, here (uploaded) or gs://...")],
    project: Project,
    bucket: Annotated[str, typer.Option(metavar="gs://BUCKET", help="For package, data and results.")],
    region: Region = "us-central1",
    name: Name = None,
    set_: Set = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; --set goes over it.")] = None,
    machine_type: MachineType = "n1-standard-8",
    accelerator: Accelerator = None,
    replicas: Annotated[int, typer.Option(help="Machines that train together.", min=1)] = 1,
    spot: Annotated[bool, typer.Option("--spot", help="Machines that may be taken away, for less.")] = False,
    service_account: ServiceAccount = None,
    tensorboard: Annotated[
        str | None, typer.Option(metavar="RESOURCE", help="projects/P/locations/R/tensorboards/ID to stream to.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="With Python 3.11. Default: TensorFlow's own.", show_default=False)
    ] = None,
    package: Annotated[
        str | None, typer.Option(metavar="gs://...tar.gz", help="Source distribution. Default: built and uploaded.")
    ] = None,
    label: Label = None,
    dry_run: DryRun = False,
    upload_only: Annotated[
        bool, typer.Option("--upload-only", help="Upload package and data, and print the job, but do not submit it.")
    ] = False,
    api_endpoint: ApiEndpoint = None,
) -> None:
    """Submit a training job. With --dry-run print it as `gcloud ai custom-jobs create --config` takes it."""
    import_tensorflow_quietly()
    from laclrec_tf.training.config import parse_assignments, read_settings
    from laclrec_tf.vertex.submit import train_on_vertex, upload_for, vertex_job

    if dry_run and upload_only:
        raise InputError("--dry-run uploads nothing and --upload-only uploads. Give one of them.")
    job = vertex_job(
        data,
        package,
        bucket,
        project=project,
        name=name or _dated_name(),
        settings=(read_settings(config) if config else {}) | parse_assignments(set_ or []),
        region=region,
        machine_type=machine_type,
        accelerator=accelerator,
        replicas=replicas,
        spot=spot,
        service_account=service_account,
        tensorboard=tensorboard,
        image=image,
        labels=_labels(label),
    )
    if dry_run:
        print(job.as_yaml(), end="")
        return
    if upload_only:
        comment: Any = lambda step: print(f"# {step}")  # noqa: E731 - the output is YAML
        upload_for(job, data, build_package=package is None, api_endpoint=api_endpoint, on_step=comment)
        print(job.as_yaml(), end="")
        return
    done = train_on_vertex(job, data, build_package=package is None, api_endpoint=api_endpoint, on_step=_say)
    _say(f"submitted {done.resource}, results in {done.folder}")
    number = done.resource.rpartition("/")[2]
    _say(f"watch it: gcloud ai custom-jobs stream-logs {number} --project={project} --region={region}")


@vertex_app.command()
def deploy(
    model: Annotated[str, typer.Argument(help="saved_models/NAME or a version of it, here (uploaded) or gs://...")],
    project: Project,
    bucket: Annotated[str | None, typer.Option(metavar="gs://BUCKET", help="To upload a local model to.")] = None,
    region: Region = "us-central1",
    name: Name = None,
    machine_type: MachineType = "n1-standard-4",
    accelerator: Accelerator = None,
    accelerator_count: AcceleratorCount = 1,
    min_replicas: Annotated[int, typer.Option(help="Machines that always run.", min=1)] = 1,
    max_replicas: Annotated[int, typer.Option(help="Machines under load.", min=1)] = 1,
    service_account: ServiceAccount = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Take over this one's traffic; see --undeploy-old. Default: a new one."),
    ] = None,
    undeploy_old: Annotated[
        bool,
        typer.Option(
            "--undeploy-old", help="Take the endpoint's other models off it, which else go on running and being billed."
        ),
    ] = False,
    parent_model: Annotated[
        str | None, typer.Option(metavar="ID", help="Make the next version of a model. Default: a new model.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Serving container. Default: the prebuilt TensorFlow one.", show_default=False)
    ] = None,
    label: Label = None,
    dry_run: DryRun = False,
    api_endpoint: ApiEndpoint = None,
) -> None:
    """Upload an exported model and serve it behind an endpoint, in the prebuilt TensorFlow Serving container."""
    import_tensorflow_quietly()
    from laclrec_tf.vertex.deploy import VertexDeployment, deploy_on_vertex, place_of

    name = name or _dated_name()
    place, folder = place_of(model, bucket, name)
    deployment = VertexDeployment(
        name=name,
        project=project,
        model=place,
        region=region,
        machine_type=machine_type,
        accelerator=accelerator,
        accelerator_count=accelerator_count,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        service_account=service_account,
        endpoint=endpoint,
        undeploy_old=undeploy_old,
        parent_model=parent_model,
        image=image,
        labels=_labels(label),
    )
    if dry_run:
        print(deployment.as_yaml(), end="")
        return
    done = deploy_on_vertex(deployment, folder, api_endpoint=api_endpoint, on_step=_say)
    _say(f"serves {done.model} at {done.endpoint}")


@vertex_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="gs://... of a folder made by `prepare`, or its path.")],
    set_: Set = None,
) -> None:
    """Train, evaluate and export as Vertex AI's environment says: what each machine of a job runs.

    A tuning job adds its parameters as --NAME=VALUE; they are settings too and go over --set.
    """
    import_tensorflow_quietly()
    from laclrec_tf.training.workers import join_workers

    workers = join_workers()  # first, before anything else sets TensorFlow up
    from laclrec_tf.training.config import TrainConfig, parse_assignments
    from laclrec_tf.vertex.worker import read_training_environment, train_here

    tuned = [argument.removeprefix("--") for argument in context.args]
    wrong = [argument for argument in context.args if not argument.startswith("--") or "=" not in argument]
    if wrong:
        raise InputError(f"`vertex run` takes parameters of a tuning job as --NAME=VALUE. Received: {wrong[0]!r}.")
    settings = parse_assignments(set_ or []) | parse_assignments(tuned)
    done = train_here(data, TrainConfig.of(settings), read_training_environment(), workers)
    for line in done:
        _say(line)


def _dated_name() -> str:
    return time.strftime("laclrec-%Y%m%d-%H%M%S")


def _labels(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or []]
    wrong = [text for text, (name, equals, _) in zip(given or [], pairs, strict=True) if not (name and equals)]
    if wrong:
        raise InputError(f"`--label` takes NAME=VALUE. Received: {wrong[0]!r}.")
    return {name: value for name, _, value in pairs}


def _say(line: str) -> None:
    console.print(line, soft_wrap=True)
