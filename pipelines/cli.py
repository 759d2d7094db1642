"""The command line: each command is a thin call of one function in `pipelines`.

TensorFlow takes seconds to import, so each command imports what it needs when it runs: `--help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from laclrec_tf.errors import InputError, reason_of
from pipelines.choices import Duplicates, Gain, Protocol, Split
from pipelines.quiet_tensorflow import import_tensorflow_quietly
from pipelines.report_tables import augmenter_table, cost_table, metrics_table
from pipelines.serving_commands import serving_app
from pipelines.terminal import terminal

app = typer.Typer(
    help="LACLRec: sequential recommendation with a learned augmenter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(serving_app)
console = terminal()
INTERRUPTED = 130


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Where to write the events, .csv or .parquet.")],
    users: Annotated[int, typer.Option(help="Number of shoppers.")] = 2000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 300,
    noise: Annotated[float, typer.Option(help="Share of events that are random items.")] = 0.15,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 0,
) -> None:
    """Write simulated events with planted patterns and planted noise, and the truth beside them."""
    import_tensorflow_quietly()
    from pipelines.simulate import simulate_events

    for file in simulate_events(out, users=users, items=items, noise=noise, seed=seed):
        console.print(f"wrote {file}")


@app.command()
def prepare(
    events: Annotated[list[Path], typer.Argument(help="CSV, CSV.gz, TSV, Parquet or JSON Lines files.")],
    out: Annotated[Path, typer.Option(help="The data folder to make.")],
    user_column: Annotated[str, typer.Option(help="Column of the user id.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="Column of the item id.")] = "item_id",
    time_column: Annotated[str, typer.Option(help="Column of the time: integers, floats or ISO text.")] = "timestamp",
    min_interactions: Annotated[int, typer.Option(help="k-core: events each user and item must have.")] = 5,
    max_length: Annotated[int, typer.Option(help="Most recent events kept of each user.")] = 50,
    duplicates: Annotated[
        Duplicates, typer.Option(help="The same user, item and time twice: drop one, or keep both.")
    ] = Duplicates.drop,
) -> None:
    """Validate, filter and order events, and write them as TFRecords with a vocabulary."""
    import_tensorflow_quietly()
    from pipelines.prepare import prepare as run

    data = run(
        events,
        out,
        user_column=user_column,
        item_column=item_column,
        time_column=time_column,
        min_interactions=min_interactions,
        max_length=max_length,
        duplicates=duplicates.value,
    )
    counts = data.counts
    console.print(f"wrote {out}: {counts['users']:,} users, {counts['items']:,} items, {counts['events']:,} events")


@app.command()
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
) -> None:
    """Train a preset, keep the best validation epoch, and write a run folder."""
    import_tensorflow_quietly()
    from pipelines.config import TrainConfig, parse_assignments, read_settings
    from pipelines.train import train as run

    settings: dict[str, Any] = read_settings(config) if config else {}
    settings |= parse_assignments(set_ or [])
    given = {"preset": preset, "epochs": epochs, "seed": seed, "refit": refit or None}
    settings |= {name: value for name, value in given.items() if value is not None}
    finished = run(data, out, TrainConfig.of(settings))
    record = finished.record
    what = (
        f"epochs {record['refit_epochs']}" if record["trained_on"] == "refit" else f"best epoch {record['best_epoch']}"
    )
    console.print(f"wrote {out}: {record['trained_on']}, {what}, {record['seconds']:.0f} s")


@app.command()
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
    from pipelines.grow import describe_growth
    from pipelines.grow import grow as run_growth

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


@app.command()
def settings() -> None:
    """List what `train --set` and `train --config` take, with the defaults."""
    import_tensorflow_quietly()
    from pipelines.config import setting_names

    for name, default in setting_names().items():
        console.print(f"{name} = {default}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A folder made by `train`.")],
    split: Annotated[Split, typer.Option(help="Which held-out item.")] = Split.test,
    protocol: Annotated[Protocol, typer.Option(help="What it is ranked against.")] = Protocol.full,
    histories: Annotated[
        Path | None, typer.Option(help="Events to evaluate on in place of the run's data, e.g. with noise.")
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Let the augmenter edit each history first.")] = False,
    ranks: Annotated[Path | None, typer.Option(help="Also write each user's rank to this .npy file.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    seed: Annotated[int, typer.Option(help="Of the items that sampled-99 draws.", min=0)] = 0,
) -> None:
    """Rank held-out items and print recall, MRR and NDCG at 5, 10 and 20."""
    import_tensorflow_quietly()
    from pipelines.evaluate import evaluate as run_evaluation

    report = run_evaluation(
        run,
        split=split.value,
        protocol=protocol.value,
        histories=histories,
        clean=clean,
        ranks_out=ranks,
        json_out=json_out,
        seed=seed,
    )
    console.print(metrics_table(report))


@app.command()
def augmenter(
    run: Annotated[Path, typer.Argument(help="A laclrec run, a folder made by `train`.")],
    out: Annotated[Path, typer.Option(help="The folder to make: augmenter.json and plots.")],
    truth: Annotated[
        Path | None, typer.Option(help="For a run on simulated events: the .truth.csv beside them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of broken histories and random views.", min=0)] = 0,
) -> None:
    """Measure what a run's augmenter deletes and inserts, and how near its views stay to the histories."""
    import_tensorflow_quietly()
    from pipelines.augmenter_report import augmenter_report

    console.print(augmenter_table(augmenter_report(run, out, truth=truth, seed=seed)))
    console.print(f"wrote {out}")


@app.command()
def study(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Models, seeds, data sets, evaluations.")],
    out: Annotated[Path, typer.Option(help="The study's folder; what is done in it already is not done again.")],
) -> None:
    """Train models over seeds and data sets, compare them on the same users, and write a report."""
    import_tensorflow_quietly()
    from pipelines.study import study as run_study

    run_study(study_file, out)


@app.command()
def page(
    studies: Annotated[list[Path], typer.Argument(help="Folders made by `study`, in the order of the page.")],
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")],
    notes: Annotated[Path | None, typer.Option(help="A Markdown file that the page begins with.")] = None,
) -> None:
    """Join the reports of studies into one Markdown page."""
    from pipelines.results_page import results_page

    results_page(studies, out, notes)
    console.print(f"wrote {out}")


@app.command()
def benchmark(
    data: Annotated[
        Path | None, typer.Option(help="A folder made by `prepare`. Default: 5,000 simulated users.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="As for `train`. Default: laclrec.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, as for `train`.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs to time, after a first one. Default: 3.", min=1)] = None,
    without: Annotated[
        Gain | None, typer.Option(help="Take one gain of the training path back, to see what it is worth.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    growth: Annotated[
        Path | None,
        typer.Option(help="Instead: measure growing users, items and lengths; write growth.json and growth.png here."),
    ] = None,
) -> None:
    """Measure training: time, memory, where the time goes, and the share of the machine's peak."""
    import_tensorflow_quietly()
    from pipelines.config import TrainConfig, parse_assignments

    settings = parse_assignments(set_ or []) | ({"preset": preset} if preset else {})
    config = TrainConfig.of(settings)
    if growth is not None:
        others = {"--data": data, "--epochs": epochs, "--without": without, "--json": json_out}
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise InputError(f"`--growth` measures an epoch of random histories of its own: leave {given[0]} out.")
        from pipelines.cost_growth import cost_growth

        cost_growth(growth, config)
        console.print(f"wrote {growth / 'growth.json'} and {growth / 'growth.png'}")
        return
    from pipelines.benchmark import benchmark as run_benchmark

    taken_back = None if without is None else without.value
    report = run_benchmark(data, config, epochs=epochs or 3, taken_back=taken_back, json_out=json_out)
    console.print(cost_table(report))


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Keep what is made here. Default: a temporary folder.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated events and of training.")] = 0,
) -> None:
    """Run the whole way on simulated events: prepare, train, evaluate, export, serve, recommend."""
    import_tensorflow_quietly()
    from pipelines.demo import demo as run_demo

    run_demo(folder, seed=seed)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2.

    A command that is interrupted or terminated takes away what it has half written, and exits with code 130.

    Args:
        arguments: Default: those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    status: int | None
    # Terminated is interrupted: an exception runs what takes half-written files away.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = app(arguments or ["--help"], prog_name="laclrec-tf", standalone_mode=False)
    except (InputError, typer.TyperException) as error:
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        print(f"laclrec-tf: {' '.join(message.split())}", file=sys.stderr)
        status = 2
    except OSError as error:
        what = f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)
        print(f"laclrec-tf: {what}. Check the path, its permissions and the disk.", file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if status == INTERRUPTED:  # typer turns the first into this code itself
        print("laclrec-tf: interrupted", file=sys.stderr)
    sys.exit(status or 0)


if __name__ == "__main__":
    main()
