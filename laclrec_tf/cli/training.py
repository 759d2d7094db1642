"""The commands from events to a trained run: `simulate`, `corrupt`, `prepare`, `train`, `grow` and `settings`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from laclrec_tf.cli.options import (
    BeamOptions,
    Commands,
    ConfigFile,
    Duplicates,
    Engine,
    EngineOption,
    ExcludeHistory,
    FileLayout,
    HoldOut,
    ItemColumn,
    NewRun,
    NoiseDraw,
    NoiseKind,
    NoisePlace,
    Run,
    RunnerOption,
    Settings,
    Ties,
    TimeColumn,
    UserColumn,
    Window,
    place_argument,
    place_option,
    refuse_without_effect,
)
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.cloud_storage import reachable
from laclrec_tf.runtime.terminal import terminal

training_app = Commands()
# Options in a group of the help. What is not given is recognised.
file_option = partial(typer.Option, rich_help_panel="Files as they are")
console = terminal()


@training_app.command()
def simulate(
    out: Annotated[Path, place_option(help="File of events to write, .csv or .parquet.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 2000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 300,
    noise: Annotated[float, typer.Option(help="Share of events that are random items.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Seed of the events.", min=0)] = 0,
    noise_anywhere: Annotated[
        bool,
        typer.Option(
            "--noise-anywhere",
            help="Allow noise in all events of a user but the last, the test item. Without it, the last two are real.",
        ),
    ] = False,
    noise_kind: Annotated[
        NoiseDraw, typer.Option(help="Draw noise among all items alike, or by their numbers of real events.")
    ] = NoiseDraw.uniform,
) -> None:
    """Write simulated events with planted patterns and noise, and files that say what was planted."""
    from laclrec_tf.data.simulated import simulate_events

    for file in simulate_events(
        out,
        users=users,
        items=items,
        noise=noise,
        seed=seed,
        noise_anywhere=noise_anywhere,
        noise_kind=noise_kind.value,
    ):
        console.print(f"wrote {file}")


@training_app.command(tensorflow=False)
def corrupt(
    events: Annotated[Path, place_argument(help="CSV, CSV.gz, TSV, Parquet or JSON Lines file of events.")],
    out: Annotated[Path, place_option(help="File of noisy events to write, .csv or .parquet.")],
    rate: Annotated[float, typer.Option(help="Share of noise among the events, the kept newest ones aside.")] = 0.2,
    kind: Annotated[
        NoiseKind,
        typer.Option(
            metavar="KIND", help="popular, uniform: insert items drawn so; replace: replace events by popular items."
        ),
    ] = NoiseKind.popular,
    where: Annotated[
        NoisePlace,
        typer.Option(help="Anywhere in a history, or only as its newest event, in a share RATE of them."),
    ] = NoisePlace.anywhere,
    keep_last: Annotated[
        int, typer.Option(metavar="N", help="Number of the newest events of each user that stay, and stay the newest.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    time_column: TimeColumn = "timestamp",
) -> None:
    """Write a noisy copy of events, and a file that says which events are noise."""
    from laclrec_tf.data.planted_noise import corrupt_events

    for file in corrupt_events(
        events,
        out,
        rate=rate,
        kind=kind.value,
        where=where.value,
        seed=seed,
        keep_last=keep_last,
        user_column=user_column,
        item_column=item_column,
        time_column=time_column,
    ):
        console.print(f"wrote {file}")


@training_app.command()
def prepare(
    context: typer.Context,
    events: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    out: Annotated[str, typer.Option(metavar="PATH", help="Data folder to create.")],
    min_interactions: Annotated[int | None, typer.Option(metavar="N", help="The next two limits. Default: 5.")] = None,
    min_user_events: Annotated[int | None, typer.Option(metavar="N", help="Min events per user. Default: 5.")] = None,
    min_item_events: Annotated[int | None, typer.Option(metavar="N", help="Min events per item. Default: 5.")] = None,
    max_length: Annotated[int | None, typer.Option(metavar="N", help="Max events read. Default: by data.")] = None,
    window: Annotated[Window | None, typer.Option(metavar="WINDOW", help="last, sliding. Default: by data.")] = None,
    duplicates: Annotated[
        Duplicates,
        typer.Option(metavar="WHAT", help="drop (default) or keep.", show_default=False),
    ] = Duplicates.drop,
    ties: Annotated[
        Ties, typer.Option(metavar="TIES", help="keep (default) or shuffle.", show_default=False)
    ] = Ties.keep,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of shuffled ties.", min=0, show_default=False)] = 0,
    hold_out: Annotated[
        HoldOut, typer.Option(metavar="WHAT", help="last (default), time or session.", show_default=False)
    ] = HoldOut.last,
    validation_from: Annotated[str | None, typer.Option(metavar="TIME", help="time: first validation event.")] = None,
    test_from: Annotated[str | None, typer.Option(metavar="TIME", help="time: first test event.")] = None,
    session_gap: Annotated[float | None, typer.Option(metavar="N", help="session: max seconds apart.")] = None,
    exclude_history: ExcludeHistory = None,
    user_column: Annotated[str, file_option(metavar="NAME", help="Column of the user ids.")] = "user_id",
    item_column: Annotated[str, file_option(metavar="NAME", help="Column of the item ids.")] = "item_id",
    time_column: Annotated[str, file_option(metavar="NAME", help="Column of the times.")] = "timestamp",
    rating_column: Annotated[str, file_option(metavar="NAME", help="Column of the ratings.")] = "rating",
    min_rating: Annotated[float | None, file_option(metavar="R", help="Leave out events with a lower rating.")] = None,
    drop_missing: Annotated[
        bool, file_option("--drop-missing", help="Leave out empty ids, NA, NaN, null, None.")
    ] = False,
    no_time: Annotated[bool, file_option("--no-time", help="Events are in the order of the rows.")] = False,
    no_header: Annotated[bool, file_option("--no-header", help="Line 1 is an event; columns are 1, 2, ...")] = False,
    separator: Annotated[
        str | None, file_option(metavar="TEXT", help="Separator: a character, ::, tab or space.")
    ] = None,
    layout: Annotated[
        FileLayout | None, file_option(metavar="LAYOUT", help="Lines: events, histories or item-lists.")
    ] = None,
    engine: EngineOption = Engine.local,
    runner: RunnerOption = None,
    beam_option: BeamOptions = None,
) -> None:
    """Validate, filter and order events, and write them as TFRecords with a vocabulary."""
    from laclrec_tf.beam.runner import pipelines_of
    from laclrec_tf.data.filters.hold_out import held_out_line
    from laclrec_tf.data.filters.settings import Filters
    from laclrec_tf.data.filters.ties import tied_share
    from laclrec_tf.data.formats.layouts import Reading
    from laclrec_tf.data.prepared import excludes_history

    of_lists = layout not in (None, FileLayout.events) and f"with --layout {layout.value}"
    refuse_without_effect(
        context,
        seed=ties is Ties.keep and "without --ties shuffle",
        user_column=of_lists,
        item_column=of_lists,
        time_column=of_lists or (no_time and "with --no-time"),
        rating_column=min_rating is None and "without --min-rating",
    )
    columns: dict[str, Any] = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    filters: dict[str, Any] = {
        "min_interactions": min_interactions,
        "min_user_events": min_user_events,
        "min_item_events": min_item_events,
        "max_length": max_length,
        "duplicates": duplicates.value,
        "window": window and window.value,
        "ties": ties.value,
        "seed": seed,
        "exclude_history": exclude_history,
        "hold_out": hold_out.value,
        "validation_from": validation_from,
        "test_from": test_from,
        "session_gap": session_gap,
    }
    reading = Reading(
        separator=separator,
        header=False if no_header else None,
        layout=layout and layout.value,
        time=not no_time,
        min_rating=min_rating,
        rating_column=rating_column,
        drop_missing=drop_missing,
    )
    Filters.of(**filters)
    if engine is Engine.beam and hold_out is not HoldOut.last:
        raise InputError(f"--hold-out {hold_out.value} needs --engine local. Received: --engine beam.")
    pipelines = pipelines_of(engine.value, runner and runner.value, beam_option or [])
    if pipelines is None:
        from laclrec_tf.data.prepare import prepare as run

        files, folder = [reachable(file) for file in events], reachable(out)
        data = run(files, folder, reading=reading, **columns, **filters)
        counts, settings = data.counts, data.settings
    else:
        from laclrec_tf.beam.files import read_bytes
        from laclrec_tf.beam.prepare import beam_prepare
        from laclrec_tf.data.prepared import DATASET_FILE

        of_local_engine = ("hold_out", "validation_from", "test_from", "session_gap")
        settings_of_beam = {name: value for name, value in filters.items() if name not in of_local_engine}
        counts = beam_prepare(events, out, pipelines=pipelines, reading=reading, **columns, **settings_of_beam)
        settings = json.loads(read_bytes(f"{out.rstrip('/')}/{DATASET_FILE}"))["settings"]
    console.print(filters_table(counts, settings))
    in_windows = settings.get("window") == "sliding"
    trained_on = "all, in windows (--window sliding)" if in_windows else "these (--window last)"
    console.print(f"a model reads the last {settings['max_length']} events of a history and is trained on {trained_on}")
    console.print(f"{tied_share(counts):.1%} of the events have the same time as the user's event before")
    repeated = counts["repeated_targets"]
    what = "excluded from recommendations" if excludes_history(repeated, exclude_history) else "recommended again"
    items = "newest" if hold_out is HoldOut.last else "test"
    console.print(f"{repeated:.1%} of the users' {items} items are in their history before: its items are {what}")
    if hold_out is not HoldOut.last:
        console.print(held_out_line(counts))
    console.print(f"wrote {out}: {counts['users']:,} users, {counts['items']:,} items, {counts['events']:,} events")


def filters_table(counts: Mapping[str, Any], settings: Mapping[str, Any]) -> Table:
    """Lay out what `prepare` read, what each filter dropped, and what was kept."""
    from laclrec_tf.data.filters.settings import dropped_by_filter

    table = Table("", box=None, pad_edge=False)
    names = ("events", "users", "items")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("option")
    dropped = dropped_by_filter(counts, settings)
    n_left_out = sum(each.is_left_out for each in dropped)
    rows = [(each.what, each.option, [n and -n for n in (each.events, each.users, each.items)]) for each in dropped]
    left = counts["rows_read"] - sum(each.events for each in dropped[:n_left_out])
    # Users and items are counted in the rows that are not left out.
    rows.insert(n_left_out, ("left" if n_left_out else "read", "", [left, counts["users_read"], counts["items_read"]]))
    if n_left_out:
        rows.insert(0, ("read", "", [counts["rows_read"], None, None]))
    for what, option, numbers in [*rows, ("kept", "", [counts[name] for name in names])]:
        table.add_row(what, *("" if n is None else f"{n:,}" for n in numbers), option)
    return table


@training_app.command()
def train(
    context: typer.Context,
    data: Annotated[Path, place_argument(help="Data folder made by `prepare`.")],
    out: NewRun,
    preset: Annotated[
        str | None,
        typer.Option(
            help="laclrec (default), cl4srec, sasrec, laclrec-no-delete, laclrec-no-insert or laclrec-no-triplet; "
            "counted in seconds: popular, recent, bigram or item-knn."
        ),
    ] = None,
    set_: Settings = None,
    config: ConfigFile = None,
    epochs: Annotated[
        int | None, typer.Option(help="Max number of epochs. Training stops earlier when validation stops improving.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, batch order, views and dropout.")] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Then train from scratch on all events before the test item.")
    ] = False,
    exclude_history: ExcludeHistory = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the newest checkpoint, or start if there is none.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="End a stopped training with its best epoch so far.")
    ] = False,
    checkpoints: Annotated[
        Path | None, place_option(help="Folder of the checkpoints. Default: `checkpoints` in the run folder.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(metavar="N", help="Minutes between two checkpoints.", min=0)
    ] = 10,
    keep_checkpoints: Annotated[int, typer.Option(metavar="N", help="Number of checkpoints to keep.", min=1)] = 2,
    no_boards: Annotated[
        bool,
        typer.Option("--no-boards", help="No histograms, edits and item vectors in TensorBoard."),
    ] = False,
) -> None:
    """Train a preset, keep the best validation epoch, and write a run folder."""
    from laclrec_tf.training.workers import join_workers

    workers = join_workers()  # before any other use of TensorFlow
    from laclrec_tf.training.checkpoints import CheckpointSettings, TrainingCheckpoints
    from laclrec_tf.training.config import TrainConfig, parse_assignments, read_settings
    from laclrec_tf.training.train import train as run

    settings: dict[str, Any] = read_settings(config) if config else {}
    settings |= parse_assignments(set_ or [])
    given = {"preset": preset, "epochs": epochs, "seed": seed, "refit": refit or None}
    given["exclude_history"] = exclude_history
    settings |= {name: value for name, value in given.items() if value is not None}
    trained = TrainConfig.of(settings)
    names = ("finish", "checkpoints", "checkpoint_minutes", "keep_checkpoints", "no_boards")
    why = trained.is_counted and f"for the preset {trained.preset}, which is counted and not trained"
    refuse_without_effect(context, **dict.fromkeys(names, why))
    checkpointing = CheckpointSettings(checkpoint_minutes, keep_checkpoints, checkpoints, resume, finish)
    before = (out / "run.json").read_bytes() if (resume or finish) and (out / "run.json").exists() else None
    try:
        finished = run(
            data,
            out,
            trained,
            checkpoints=checkpointing,
            workers=workers,
            boards=not no_boards,
        )
    except KeyboardInterrupt:
        kept = TrainingCheckpoints(checkpointing.folder_for(out))
        if kept:
            terminal(stderr=True).print(
                f"laclrec-tf: the state is in {kept.folder}; resume with the same command and --resume"
            )
        raise
    if finished is None:
        console.print("done; the chief writes the run")
        return
    record = finished.record
    did = "was finished before:" if (out / "run.json").read_bytes() == before else "wrote"
    if finished.is_counted:
        found = ", ".join(f"{name} {record['validation'][name]:.4f}" for name in ("recall@10", "ndcg@10"))
        found += "" if finished.exclude_history else ", items of a history are recommended again"
        of_strict = " of the strict model" * (record["trained_on"] == "refit")
        console.print(
            f"{did} {out}: {record['trained_on']}, counted, validation{of_strict}: {found}, {record['seconds']:.1f} s"
        )
        return
    what = (
        f"epochs {record['refit_epochs']}" if record["trained_on"] == "refit" else f"best epoch {record['best_epoch']}"
    )
    what += "" if finished.exclude_history else ", items of a history are recommended again"
    if "edits" in record:
        what += f", edits of histories: {record['edits']['chosen']} (chosen on {record['edits']['users']:,} users)"
    elif record["trained_on"] == "strict" and record["settings"]["calibration_share"]:
        what += ", not calibrated for noise, which takes 500 users with a validation item and three events before it"
    if "deletions" in record:
        threshold = record["deletions"]["threshold"]
        deleted = "nothing" if threshold > 1 else f"what is noise with a probability above {threshold:.2f}"
        # Only a model with an augmenter edits histories.
        what += f", deletes {deleted}" if finished.model.has_augmenter else ""
        what += f", noise rate at most about {record['deletions']['noise_rate']:.1%}"
    console.print(f"{did} {out}: {record['trained_on']}, {what}, {record['seconds']:.0f} s")


@training_app.command()
def grow(
    context: typer.Context,
    run: Run,
    vocabulary: Annotated[
        Path, place_option(help="The new catalogue: a file with one item a line, or a folder made by `prepare`.")
    ],
    out: NewRun,
    neighbours: Annotated[
        Path | None,
        place_option(help="Table of item, neighbour and optionally weight: known items that new items resemble."),
    ] = None,
    events: Annotated[
        Path | None,
        place_option(help="Recent events, for neighbours of other new items and the popularity of all new items."),
    ] = None,
    user_column: UserColumn = "user_id",
    item_column: ItemColumn = "item_id",
    time_column: TimeColumn = "timestamp",
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="Do not retire the items that the new catalogue lacks.")
    ] = False,
) -> None:
    """Adapt a run to a new catalogue without training: add new items, and stop recommending missing ones."""
    from laclrec_tf.training.grow import describe_growth
    from laclrec_tf.training.grow import grow as run_growth

    names = ("user_column", "item_column", "time_column")
    refuse_without_effect(context, **dict.fromkeys(names, events is None and "without --events"))
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
    console.print(f"wrote {out}: {describe_growth(grown.record)}")


@training_app.command()
def settings(
    preset: Annotated[str, typer.Option(help="Preset, see `train`. Counted ones have other settings.")] = "laclrec",
) -> None:
    """List the settings of `train --set` and `train --config` with their defaults."""
    from laclrec_tf.models import preset_arguments
    from laclrec_tf.training.config import DATA_DEFAULTS, DEPENDENT_DEFAULTS, setting_names

    of_preset = preset_arguments(preset) | {"preset": preset}
    for name, default in (setting_names(preset) | of_preset).items():
        if name in DEPENDENT_DEFAULTS:
            usual, sampled = DEPENDENT_DEFAULTS[name]
            other = f"{sampled} with n_negatives" if sampled != usual else "a fifth more than the data's max length"
            default = f"{usual}, or {other}"
        elif name in DATA_DEFAULTS and name not in preset_arguments(preset):
            default = f"{default}, or {DATA_DEFAULTS[name]}"
        console.print(f"{name} = {default}")
