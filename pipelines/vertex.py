"""Train on a rented machine of Vertex AI, upload the model, and serve it behind an endpoint.

    python pipelines/vertex.py data --project shop --bucket gs://shop-models --name may --dry-run

Upload the package and the data -> training job -> wait for its model -> endpoint. The job continues if this
process is stopped. With `--endpoint` the traffic of an existing endpoint moves to the new model.
"""

from typing import Annotated

import typer

from laclrec_tf.cli.cloud import Accelerator, ApiEndpoint, Bucket, DryRun, MachineType, Project, Region
from laclrec_tf.cli.main import run_app
from laclrec_tf.cli.options import Settings
from laclrec_tf.runtime.terminal import terminal


def run_pipeline(
    data: Annotated[str, typer.Argument(help="A folder made by `laclrec-tf prepare`, local or gs://...")],
    project: Project,
    bucket: Bucket,
    name: Annotated[str, typer.Option(help="Name of the job, the model and a new endpoint.")],
    region: Region = "us-central1",
    set_: Settings = None,
    machine_type: MachineType = "n1-standard-8",
    accelerator: Accelerator = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="ID", help="Endpoint whose traffic moves to the model. Default: a new one.")
    ] = None,
    poll_seconds: Annotated[float, typer.Option(metavar="N", help="Seconds between checks of the job.", min=0)] = 60.0,
    dry_run: DryRun = False,
    api_endpoint: ApiEndpoint = None,
) -> None:
    """Train on Vertex AI, upload the model, and serve it behind an endpoint."""
    # Imported here, so that `--help` does not wait for TensorFlow.
    from laclrec_tf.training.config import parse_assignments
    from laclrec_tf.vertex.deploy import VertexDeployment, deploy_on_vertex
    from laclrec_tf.vertex.submit import train_on_vertex, vertex_job, wait_for_job

    say = terminal().print
    job = vertex_job(
        data,
        None,
        bucket,
        project=project,
        name=name,
        region=region,
        settings=parse_assignments(set_ or []),
        machine_type=machine_type,
        accelerator=accelerator,
    )
    deployment = VertexDeployment(
        name=name, project=project, model=f"{job.folder}/model", region=region, endpoint=endpoint
    )
    if dry_run:
        print(job.as_yaml(), deployment.as_yaml(), sep="---\n", end="")
        return

    submitted = train_on_vertex(job, data, api_endpoint=api_endpoint, on_step=say)
    say(f"submitted {submitted.resource}. Watch it: {submitted.logs_command}")
    wait_for_job(submitted, poll_seconds=poll_seconds, api_endpoint=api_endpoint, on_step=say)

    done = deploy_on_vertex(deployment, api_endpoint=api_endpoint, on_step=say)
    say(f"{done.endpoint} serves {done.model}")


if __name__ == "__main__":
    run_app(run_pipeline)
