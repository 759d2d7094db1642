"""From files of events to a served model, in this process.

    python pipelines/local.py events.csv --to saved_models/shop --work work

prepare -> train -> evaluate -> export -> push. A push validates the exported version, compares it with the served
version on the new events ("blesses" it) and publishes it. If it is worse, the served version stays.
"""

from pathlib import Path
from typing import Annotated

import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.cli.options import Settings, place_argument, place_option
from laclrec_tf.runtime.terminal import terminal


def run_pipeline(
    events: Annotated[list[Path], place_argument(help="Files of events: CSV, CSV.gz, TSV, Parquet or JSON Lines.")],
    to: Annotated[Path, place_option(help="saved_models/NAME, the folder that is served.")],
    work: Annotated[Path, place_option(help="Folder for the prepared data, the run and the exported model.")],
    min_interactions: Annotated[int, typer.Option(help="k-core: min events of each user and item.")] = 5,
    set_: Settings = None,
    metric: Annotated[str, typer.Option(help="Metric of the comparison; higher is better.")] = "ndcg@10",
    tolerance: Annotated[float, typer.Option(help="Max loss against the served version, as a share.")] = 0.02,
) -> None:
    """Prepare events, train, evaluate, export, and push the model if it is no worse than the served one."""
    # Imported here, so that `--help` does not wait for TensorFlow.
    from laclrec_tf.data.prepare import prepare
    from laclrec_tf.evaluation.evaluate import evaluate
    from laclrec_tf.serving.release.blessing import check_bar
    from laclrec_tf.serving.release.export import export
    from laclrec_tf.serving.release.push import push
    from laclrec_tf.serving.version.folder import check_model_folder
    from laclrec_tf.training.config import TrainConfig, parse_assignments
    from laclrec_tf.training.train import train

    # Mistakes show before the work.
    config = TrainConfig.of(parse_assignments(set_ or []))
    check_bar(metric, tolerance)
    check_model_folder(to)
    say = terminal().print

    data = prepare(events, work / "data", min_interactions=min_interactions)
    say("prepared: {users:,} users, {items:,} items, {events:,} events".format(**data.counts))

    train(data.folder, work / "run", config)
    report = evaluate(work / "run")
    say(f"trained and evaluated: recall@10 {report['recall@10']:.3f}, ndcg@10 {report['ndcg@10']:.3f} on test items")

    version = export(work / "run", work / "model")
    say(f"exported: {version}")

    for line in push(version, to, metric=metric, tolerance=tolerance, data=data.folder).report():
        say(line)


if __name__ == "__main__":
    run_app(run_pipeline)
