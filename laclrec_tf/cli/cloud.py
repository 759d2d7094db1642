"""The commands `laclrec-tf vertex ...`: train and serve on Google Cloud's Vertex AI."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from laclrec_tf.cli.options import Commands, ConfigFile, Settings, refuse_without_effect
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import terminal

vertex_app = Commands(help="Train and serve on Google Cloud's Vertex AI.", no_args_is_help=True)
console = terminal()
Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Google Cloud project.")]
Bucket = Annotated[str, typer.Option(metavar="gs://BUCKET", help="Bucket for package, data and results.")]
Region = Annotated[str, typer.Option(help="Region of the machines. The bucket should be in it too.")]
Name = Annotated[
    str | None, typer.Option(help="Name on Vertex AI. Default: laclrec- and the time.", show_default=False)
]
MachineType = Annotated[str, typer.Option(metavar="TYPE", help="Type of each machine.")]
Accelerator = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Type of accelerator, e.g. NVIDIA_TESLA_T4. Default: none.")
]
ServiceAccount = Annotated[
    str | None, typer.Option(metavar="EMAIL", help="Service account to run as. Default: Vertex AI's own.")
]
Label = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Label of the resources. May be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests as YAML and send none.")]
ApiEndpoint = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Address of Vertex AI's API. Default: the region's.", show_default=False),
]


@vertex_app.command()
def train(
    data: Annotated[str, typer.Argument(help="Data folder made by `prepare`: a path, which is uploaded, or gs://...")],
    project: Project,
    bucket: Bucket,
    region: Region = "us-central1",
    name: Name = None,
    set_: Settings = None,
    config: ConfigFile = None,
    machine_type: MachineType = "n1-standard-8",
    accelerator: Accelerator = None,
    replicas: Annotated[int, typer.Option(help="Number of machines that train together.", min=1)] = 1,
    spot: Annotated[bool, typer.Option("--spot", help="Use cheaper machines that Google may stop.")] = False,
    service_account: ServiceAccount = None,
    tensorboard: Annotated[
        str | None,
        typer.Option(metavar="RESOURCE", help="TensorBoard to stream to: projects/P/locations/R/tensorboards/ID."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Image with Python 3.11. Default: TensorFlow's own.", show_default=False),
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(metavar="gs://...tar.gz", help="Source distribution. Default: one is built and uploaded."),
    ] = None,
    label: Label = None,
    dry_run: DryRun = False,
    upload_only: Annotated[
        bool, typer.Option("--upload-only", help="Upload package and data and print the job, but do not submit it.")
    ] = False,
    api_endpoint: ApiEndpoint = None,
) -> None:
    """Submit a training job. --dry-run prints it in the format of `gcloud ai custom-jobs create --config`."""
    from laclrec_tf.training.config import parse_assignments, read_settings
    from laclrec_tf.vertex.submit import train_on_vertex, upload_for, vertex_job

    if dry_run and upload_only:
        raise InputError("--dry-run uploads nothing, so it cannot be combined with --upload-only. Give one of them.")
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
        upload_for(job, data, build_package=package is None, api_endpoint=api_endpoint, on_step=_print_comment)
        print(job.as_yaml(), end="")
        return
    done = train_on_vertex(job, data, build_package=package is None, api_endpoint=api_endpoint, on_step=console.print)
    console.print(f"submitted {done.resource}, results in {done.folder}")
    console.print(f"watch it: {done.logs_command}")


@vertex_app.command()
def deploy(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(help="saved_models/NAME or one of its versions: a path, which is uploaded, or gs://..."),
    ],
    project: Project,
    bucket: Annotated[str | None, typer.Option(metavar="gs://BUCKET", help="Bucket for a local model.")] = None,
    region: Region = "us-central1",
    name: Name = None,
    machine_type: MachineType = "n1-standard-4",
    accelerator: Accelerator = None,
    accelerator_count: Annotated[int, typer.Option(metavar="N", help="Accelerators of each machine.", min=1)] = 1,
    min_replicas: Annotated[int, typer.Option(help="Min number of machines.", min=1)] = 1,
    max_replicas: Annotated[int, typer.Option(help="Max number of machines, under load.", min=1)] = 1,
    service_account: ServiceAccount = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Endpoint whose traffic to take over, see --undeploy-old. Default: a new one.",
        ),
    ] = None,
    undeploy_old: Annotated[
        bool,
        typer.Option(
            "--undeploy-old", help="Undeploy the other models of the endpoint. They are billed as long as they run."
        ),
    ] = False,
    parent_model: Annotated[
        str | None, typer.Option(metavar="ID", help="Model to create the next version of. Default: a new model.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Image of the serving container. Default: the prebuilt TensorFlow one.", show_default=False),
    ] = None,
    label: Label = None,
    dry_run: DryRun = False,
    api_endpoint: ApiEndpoint = None,
) -> None:
    """Upload an exported model and serve it at an endpoint, in the prebuilt TensorFlow Serving container."""
    from laclrec_tf.vertex.deploy import VertexDeployment, deploy_on_vertex, place_of

    refuse_without_effect(
        context,
        bucket=model.startswith("gs://") and "for a model that is in a bucket already",
        accelerator_count=accelerator is None and "without --accelerator",
    )
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
    done = deploy_on_vertex(deployment, folder, api_endpoint=api_endpoint, on_step=console.print)
    console.print(f"{done.endpoint} serves {done.model}")


@vertex_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="Data folder made by `prepare`: gs://... or a path.")],
    set_: Settings = None,
) -> None:
    """Train, evaluate and export on a machine of a Vertex AI job, to the places that its environment names.

    A tuning job adds its parameters as --NAME=VALUE. They are settings and override --set.
    """
    from laclrec_tf.training.workers import join_workers

    workers = join_workers()  # before any other use of TensorFlow
    from laclrec_tf.training.config import TrainConfig, parse_assignments
    from laclrec_tf.vertex.worker import read_training_environment, train_here

    tuned = [argument.removeprefix("--") for argument in context.args]
    wrong = [argument for argument in context.args if not argument.startswith("--") or "=" not in argument]
    if wrong:
        raise InputError(f"Parameters of a tuning job are given as --NAME=VALUE. Received: {wrong[0]!r}.")
    settings = parse_assignments(set_ or []) | parse_assignments(tuned)
    for line in train_here(data, TrainConfig.of(settings), read_training_environment(), workers):
        console.print(line)


def _print_comment(step: str) -> None:
    print(f"# {step}")  # the output is YAML


def _dated_name() -> str:
    return time.strftime("laclrec-%Y%m%d-%H%M%S")


def _labels(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or []]
    wrong = [text for text, (name, equals, _) in zip(given or [], pairs, strict=True) if not (name and equals)]
    if wrong:
        raise InputError(f"`--label` takes NAME=VALUE. Received: {wrong[0]!r}.")
    return {name: value for name, _, value in pairs}
