"""The commands from events to a trained run; `cli` adds them to its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from laclrec_tf.cli.options import BeamOptions, Duplicates, Engine, EngineOption, RunnerOption
from laclrec_tf.runtime.cloud_storage import on_this_machine
from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
from laclrec_tf.runtime.terminal import terminal

training_app = typer.Typer()
console = terminal()


@training_app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Where to write the events, .csv or .parquet.")],
    users: Annotated[int, typer.Option(help="Number of shoppers.")] = 2000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 300,
    noise: Annotated[float, typer.Option(help="Share of events that are random items.")] = 0.15,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 0,
) -> None:
    """Write simulated events with planted patterns and planted noise, and the truth beside them."""
    import_tensorflow_quietly()
    from laclrec_tf.data.simulated import simulate_events

    for file in simulate_events(out, users=users, items=items, noise=noise, seed=seed):
        console.print(f"wrote {file}")


@training_app.command()
def prepare(
    events: Annotated[list[str], typer.Argument(help="CSV, CSV.gz, TSV, Parquet or JSON Lines files.")],
    out: Annotated[str, typer.Option(help="The data folder to make.")],
    user_column: Annotated[str, typer.Option(help="Column of the user id.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="Column of the item id.")] = "item_id",
    time_column: Annotated[str, typer.Option(help="Column of the time: integers, floats or ISO text.")] = "timestamp",
    min_interactions: Annotated[int, typer.Option(help="k-core: events each user and item must have.")] = 5,
    max_length: Annotated[int, typer.Option(help="Most recent events kept of each user.")] = 50,
    duplicates: Annotated[
        Duplicates, typer.Option(help="The same user, item and time twice: drop one, or keep both.")
    ] = Duplicates.drop,
    engine: EngineOption = Engine.local,
    runner: RunnerOption = None,
    beam_option: BeamOptions = None,
) -> None:
    """Validate, filter and order events, and write them as TFRecords with a vocabulary."""
    import_tensorflow_quietly()
    from laclrec_tf.beam.runner import pipelines_of

    settings: dict[str, Any] = {
        "user_column": user_column,
        "item_column": item_column,
        "time_column": time_column,
        "min_interactions": min_interactions,
        "max_length": max_length,
        "duplicates": duplicates.value,
    }
    pipelines = pipelines_of(engine.value, runner and runner.value, beam_option or [])
    if pipelines is None:
        from laclrec_tf.data.prepare import prepare as run

        files, folder = [on_this_machine(file) for file in events], on_this_machine(out)
        counts = dict(run(files, folder, **settings).counts)
    else:
        from laclrec_tf.beam.prepare import beam_prepare

        counts = beam_prepare(events, out, pipelines=pipelines, **settings)
    console.print(f"wrote {out}: {counts['users']:,} users, {counts['items']:,} items, {counts['events']:,} events")


@training_app.command()
def train(
    data: Annotated[Path, typer.Argument(help="A folder made by `prepare`.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="laclrec (default), cl4srec, sasrec, laclrec-no-delete, laclrec-no-insert or laclrec-no-triplet."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, see `laclrec-tf settings`. May be repeated."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; --set goes over it.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs; training stops earlier when it stalls.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, views and dropout.")] = None,
    refit: Annotated[bool, typer.Option("--refit", help="Then train anew on everything before the test item.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint; begin anew if there is none.")
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoints. Default: `checkpoints` in the run folder.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(metavar="N", help="Minutes between two checkpoints.", min=0)
    ] = 10,
    keep_checkpoints: Annotated[int, typer.Option(metavar="N", help="How many checkpoints stay.", min=1)] = 2,
    no_boards: Annotated[
        bool,
        typer.Option("--no-boards", help="Leave histograms, edited histories and item vectors out of TensorBoard."),
    ] = False,
) -> None:
    """Train a preset, keep the best validation epoch, and write a run folder."""
    import_tensorflow_quietly()
    from laclrec_tf.training.workers import join_workers

    workers = join_workers()  # first, before anything else sets TensorFlow up
    from laclrec_tf.training.checkpoints import CheckpointSettings, TrainingCheckpoints
    from laclrec_tf.training.config import TrainConfig, parse_assignments, read_settings
    from laclrec_tf.training.train import train as run

    settings: dict[str, Any] = read_settings(config) if config else {}
    settings |= parse_assignments(set_ or [])
    given = {"preset": preset, "epochs": epochs, "seed": seed, "refit": refit or None}
    settings |= {name: value for name, value in given.items() if value is not None}
    keeping = CheckpointSettings(checkpoint_minutes, keep_checkpoints, checkpoints, resume)
    chosen = TrainConfig.of(settings)
    was_finished = resume and (out / "run.json").exists()
    try:
        finished = run(data, out, chosen, checkpoints=keeping, workers=workers, boards=not no_boards)
    except KeyboardInterrupt:
        kept = TrainingCheckpoints(keeping.folder_for(out))
        if kept:
            terminal(stderr=True).print(
                f"laclrec-tf: the state is in {kept.folder}; the same command with --resume goes on"
            )
        raise
    if finished is None:
        console.print("done; the chief writes the run")
        return
    record = finished.record
    what = (
        f"epochs {record['refit_epochs']}" if record["trained_on"] == "refit" else f"best epoch {record['best_epoch']}"
    )
    did = "was finished before:" if was_finished else "wrote"
    console.print(f"{did} {out}: {record['trained_on']}, {what}, {record['seconds']:.0f} s")


@training_app.command()
def grow(
    run: Annotated[Path, typer.Argument(help="A folder made by `train`, or by `grow`.")],
    vocabulary: Annotated[
        Path, typer.Option(help="The new catalogue: a file of one item a line, or a folder made by `prepare`.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    neighbours: Annotated[
        Path | None,
        typer.Option(help="A table of item, neighbour and, if wanted, weight: what new items are like."),
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="Recent events: what other new items are met with, and how often.")
    ] = None,
    user_column: Annotated[str, typer.Option(help="Column of the events' user id.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="Column of the events' item id.")] = "item_id",
    time_column: Annotated[str, typer.Option(help="Column of the events' time.")] = "timestamp",
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="Do not retire the items that the new catalogue lacks.")
    ] = False,
) -> None:
    """Fit a run to a new catalogue without training: items are added, and retired ones no longer recommended."""
    import_tensorflow_quietly()
    from laclrec_tf.training.grow import describe_growth
    from laclrec_tf.training.grow import grow as run_growth

    grown = run_growth(
        run,
        vocabulary,
        out,
        neighbours=neighbours,
        events=events,
        user_column=user_column,
        item_column=item_column,
        time_column=time_column,
        keep_missing=keep_missing,
    )
    console.print(f"wrote {out}: {describe_growth(grown.record)}", soft_wrap=True)


@training_app.command()
def settings() -> None:
    """List what `train --set` and `train --config` take, with the defaults."""
    import_tensorflow_quietly()
    from laclrec_tf.training.config import DEPENDENT_DEFAULTS, setting_names

    for name, default in setting_names().items():
        if name in DEPENDENT_DEFAULTS:
            default = "{}, or {} with n_negatives".format(*DEPENDENT_DEFAULTS[name])
        console.print(f"{name} = {default}")
