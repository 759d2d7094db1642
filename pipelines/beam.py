"""New events to recommendations for every user, on a cluster.

    python pipelines/beam.py 'gs://shop/events-*.parquet' --model gs://shop/models/shop --data gs://shop/data \
        --out gs://shop/best.parquet --runner DataflowRunner --beam-option project=shop \
        --beam-option region=europe-west1 --beam-option temp_location=gs://shop/tmp \
        --beam-option sdk_container_image=IMAGE

prepare -> recommend for all users. The places may be on any filesystem that Beam supports. The workers import
laclrec_tf, so `IMAGE` must have it. Copy the file and train on the prepared data in between, or use an older model.
"""

from typing import Annotated

import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.cli.options import BeamOptions, Runner
from laclrec_tf.runtime.terminal import terminal


def run_pipeline(
    events: Annotated[
        list[str], typer.Argument(help="Files of events, or patterns such as gs://shop/events-*.parquet.")
    ],
    model: Annotated[str, typer.Option(help="saved_models/NAME, its newest version, or saved_models/NAME/VERSION.")],
    data: Annotated[str, typer.Option(help="Folder of prepared data to write.")],
    out: Annotated[str, typer.Option(metavar="FILE.parquet", help="Table to write, a row for each user.")],
    k: Annotated[int, typer.Option(help="Items for each user.", min=1)] = 10,
    min_interactions: Annotated[int, typer.Option(help="k-core: min events of each user and item.")] = 5,
    runner: Annotated[Runner, typer.Option(help="Runner of the Beam pipelines.")] = Runner.DirectRunner,
    beam_option: BeamOptions = None,
) -> None:
    """Prepare events, and recommend items for every user of them."""
    # Imported here, so that `--help` does not wait for TensorFlow. The runner comes first: it says if Beam is missing.
    from laclrec_tf.beam.runner import BeamPipelines

    cluster = BeamPipelines(runner.value, beam_option or [])
    from laclrec_tf.beam.prepare import beam_prepare
    from laclrec_tf.beam.recommend_all import beam_recommend_all

    say = terminal().print
    counts = beam_prepare(events, data, pipelines=cluster, min_interactions=min_interactions)
    say("wrote {0}: {users:,} users, {items:,} items, {events:,} events".format(data, **counts))
    users = beam_recommend_all(model, [data], out, pipelines=cluster, k=k)
    say(f"wrote {out}: {users:,} users")


if __name__ == "__main__":
    run_app(run_pipeline)
