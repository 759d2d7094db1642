"""The commands that measure runs, training, indexes and servers, and the tables that they print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from laclrec_tf.cli.options import (
    Commands,
    Edits,
    EditsOption,
    ExcludeHistory,
    Int8,
    JsonOut,
    NoiseKind,
    NoisePlace,
    Partitions,
    Protocol,
    Recall,
    Run,
    Settings,
    Signature,
    Split,
    TitleColumn,
    TitleItemColumn,
    Titles,
    cut_offs,
    metric_names,
    place_argument,
    place_option,
    refuse_columns_of_titles,
    refuse_without_effect,
)
from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import terminal

measuring_app = Commands()
console = terminal()


@measuring_app.command()
def evaluate(
    context: typer.Context,
    run: Run,
    split: Annotated[Split, typer.Option(help="Which held-out item to rank.")] = Split.test,
    protocol: Annotated[
        Protocol | None,
        typer.Option(help="Which items to rank it against. Default: as the run recommends.", show_default=False),
    ] = None,
    exclude_history: ExcludeHistory = None,
    histories: Annotated[
        Path | None, place_option(help="Events to evaluate on in place of the run's data, e.g. with noise.")
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Evaluate on histories edited by the augmenter.")] = False,
    edits: EditsOption = Edits.chosen,
    noise: Annotated[
        float | None,
        typer.Option(help="Share of foreign items, drawn by popularity, to plant in the histories. Default: 0.", min=0),
    ] = None,
    k: Annotated[str, typer.Option(metavar="K,...", help="Cut-offs of the metrics, such as 1,10,50.")] = "5,10,20",
    metrics: Annotated[str, typer.Option(metavar="NAME,...", help="Metrics to show.")] = "recall,ndcg,mrr",
    ranks: Annotated[Path | None, place_option(help="Also write each user's rank to a .csv or .parquet.")] = None,
    json_out: JsonOut = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise, and of the items that sampled-99 draws.", min=0)] = 0,
) -> None:
    """Rank held-out items and print recall, NDCG and MRR."""
    from laclrec_tf.evaluation.evaluate import evaluate as run_evaluation
    from laclrec_tf.metrics.ranking import served_protocol

    ks, names = cut_offs(k), metric_names(metrics)
    chosen = None if protocol is None else protocol.value
    if exclude_history is not None:
        served = served_protocol(exclude_history)
        if chosen not in (None, served):
            option = f"--{'exclude' if exclude_history else 'keep'}-history"
            raise InputError(f"{option} is the protocol {served}. Received: --protocol {chosen}. Leave one out.")
        chosen = served
    draws = noise is not None or chosen == "sampled-99"
    refuse_without_effect(context, seed=not draws and "without --noise and --protocol sampled-99")
    report = run_evaluation(
        run,
        split=split.value,
        protocol=chosen,
        histories=histories,
        clean=clean,
        edits=edits.value,
        noise=noise or 0.0,
        ks=ks,
        ranks_out=ranks,
        json_out=json_out,
        seed=seed,
    )
    console.print(metrics_table(report, ks, names))
    if report["protocol"] == "full" and report["targets_in_history"]:
        console.print(
            f"{report['targets_in_history']:.1%} of the held-out items are in the user's history. They are missed, "
            "because the items of a history are not recommended. --keep-history recommends them."
        )


@measuring_app.command(name="noise-curve")
def noise_curve(
    runs: Annotated[list[Path], place_argument(help="Run folders made by `train` on the same data, e.g. of seeds.")],
    rates: Annotated[
        str, typer.Option(help="Shares of noise among events, or of newest events that are noise.")
    ] = "0,0.1,0.2,0.3,0.4",
    kind: Annotated[
        NoiseKind, typer.Option(help="Insert items by popularity, insert any items, or replace events.")
    ] = NoiseKind.popular,
    where: Annotated[NoisePlace, typer.Option(help="Noise anywhere, or as the newest event.")] = NoisePlace.anywhere,
    split: Annotated[Split, typer.Option(help="Which held-out item to rank.")] = Split.test,
    exclude_history: ExcludeHistory = None,
    json_out: JsonOut = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
) -> None:
    """Rank held-out items for histories with planted noise, and compare the kinds of edits."""
    from laclrec_tf.evaluation.noise_curve import noise_curve as run_curve

    try:
        shares = [float(rate) for rate in rates.split(",")]
    except ValueError:
        raise InputError(f"Option --rates must be numbers such as 0,0.2,0.4. Received: {rates!r}.") from None
    found = run_curve(
        runs,
        rates=shares,
        kind=kind.value,
        where=where.value,
        split=split.value,
        exclude_history=exclude_history,
        json_out=json_out,
        seed=seed,
    )
    console.print(noise_table(found))


@measuring_app.command()
def augmenter(
    run: Annotated[Path, place_argument(help="Run folder made by `train` or `grow`, with an augmenter.")],
    out: Annotated[Path, place_option(help="Folder to create, with augmenter.json and plots.")],
    truth: Annotated[
        Path | None, place_option(help="For a run on simulated events: the .truth.csv that `simulate` wrote.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of broken histories and random views.", min=0)] = 0,
) -> None:
    """Measure what a run's augmenter deletes and inserts, and how similar its views are to the histories."""
    from laclrec_tf.evaluation.augmenter_report import augmenter_report

    console.print(augmenter_table(augmenter_report(run, out, truth=truth, seed=seed)))
    console.print(f"wrote {out}")


@measuring_app.command()
def report(
    context: typer.Context,
    run: Run,
    out: Annotated[Path, place_option(help="HTML file to write.")],
    data: Annotated[
        Path | None, place_option(help="Data folder made by `prepare`, if it was moved after training.")
    ] = None,
    users: Annotated[int, typer.Option(help="Max number of users, drawn at random.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of users, examples and broken histories.", min=0)] = 0,
    exclude_history: ExcludeHistory = None,
    titles: Titles = None,
    title_column: TitleColumn = "title",
    title_item_column: TitleItemColumn = "item_id",
) -> None:
    """Write a run's report: one HTML file with curves, metrics by group, the augmenter's edits and examples."""
    from laclrec_tf.report.report import report as write_report

    refuse_columns_of_titles(context, titles)
    found = write_report(
        run,
        out,
        data=data,
        users=users,
        seed=seed,
        exclude_history=exclude_history,
        titles=titles,
        title_column=title_column,
        title_item_column=title_item_column,
    )
    metrics, history = found["metrics"], "excluded" if found["exclude_history"] else "kept"
    console.print(
        f"wrote {out}: {found['users']:,} users, recall@10 {metrics['recall@10']:.4f}, "
        f"ndcg@10 {metrics['ndcg@10']:.4f}, history: {history}"
    )


@measuring_app.command()
def study(
    study_file: Annotated[Path, place_argument(metavar="STUDY.yaml", help="Models, seeds, data sets and evaluations.")],
    out: Annotated[Path, place_option(help="Folder of the study. Finished trainings in it are not repeated.")],
) -> None:
    """Train models with several seeds on several data sets, compare them on the same users, and write a report."""
    from laclrec_tf.study.study import study as run_study

    run_study(study_file, out)


@measuring_app.command()
def benchmark(
    data: Annotated[
        Path | None, place_option(help="Data folder made by `prepare`. Default: 5,000 simulated users.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Preset, see `train`. Default: laclrec.")] = None,
    set_: Settings = None,
    epochs: Annotated[
        int | None, typer.Option(help="Number of measured epochs, after a first one. Default: 3.", min=1)
    ] = None,
    json_out: JsonOut = None,
    growth: Annotated[
        Path | None,
        place_option(help="Measure growing users, items and lengths instead. Folder for growth.json and growth.png."),
    ] = None,
) -> None:
    """Measure training: time, memory, shares of the time, and the fraction of the machine's peak."""
    from laclrec_tf.training.config import TrainConfig, parse_assignments

    settings = parse_assignments(set_ or []) | ({"preset": preset} if preset else {})
    config = TrainConfig.of(settings)
    if growth is not None:
        others = {"--data": data, "--epochs": epochs, "--json": json_out}
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise InputError(
                f"`--growth` generates its own random histories, so it cannot be combined with {given[0]}. "
                f"Remove {given[0]}."
            )
        from laclrec_tf.benchmark.scaling import cost_growth

        cost_growth(growth, config)
        console.print(f"wrote {growth / 'growth.json'} and {growth / 'growth.png'}")
        return
    from laclrec_tf.benchmark.training import benchmark as run_benchmark

    report = run_benchmark(data, config, epochs=epochs or 3, json_out=json_out)
    console.print(cost_table(report))


@measuring_app.command(name="index-benchmark")
def index_benchmark(
    context: typer.Context,
    run: Annotated[
        Path | None, place_argument(help="Run folder made by `train` or `grow`. Default: random vectors.")
    ] = None,
    items: Annotated[int, typer.Option(help="Number of random vectors.", min=1)] = 1_000_000,
    width: Annotated[int, typer.Option(help="Size of random vectors.", min=1)] = 64,
    recall: Recall = None,
    partitions: Partitions = None,
    int8: Int8 = False,
    json_out: JsonOut = None,
) -> None:
    """Measure how fast an exact and a partitioned index find the 20 best items of a catalogue."""
    from laclrec_tf.benchmark.index import index_benchmark as run_benchmark
    from laclrec_tf.serving.release.export import IndexSettings

    of_run = run is not None and "with a run, whose vectors are searched"
    refuse_without_effect(context, items=of_run, width=of_run)
    if run is None and (recall, partitions, int8) != (None, None, False):
        raise InputError(
            "--recall, --partitions and --int8 need the vectors of a run, because random vectors do not cluster. "
            "Give a run folder, or remove them."
        )
    settings = IndexSettings("partitioned", recall, partitions, int8)
    report = run_benchmark(run, items=items, width=width, settings=settings, json_out=json_out)
    console.print(index_table(report))


@measuring_app.command(tensorflow=False)
def loadtest(
    model: Annotated[Path, place_argument(help="saved_models/NAME; histories are drawn from its items.")],
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address of a running server. Default: `laclrec-tf serve` is started."),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="Name of the model on that server. Default: the folder's name.")
    ] = None,
    serve_arg: Annotated[
        list[str] | None, typer.Option(help="Argument of `serve`: --serve-arg=--FLAG=VALUE. May be repeated.")
    ] = None,
    clients: Annotated[int, typer.Option(help="Number of concurrent requests.")] = 4,
    seconds: Annotated[float, typer.Option(help="Duration of the test in seconds.")] = 10.0,
    signature: Annotated[Signature, typer.Option(help="Signature to call.")] = Signature.serving_default,
    k: Annotated[int | None, typer.Option(help="Number of items, for retrieve. Default: 10.")] = None,
    rows: Annotated[int, typer.Option(help="Number of histories in each request.")] = 1,
    push_every: Annotated[
        float | None, typer.Option(help="Seconds between two pushes of a new version, into a copy of the folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the histories.", min=0)] = 0,
    json_out: JsonOut = None,
) -> None:
    """Measure a server under load: answers per second, latencies, errors and memory.

    The exit code is 1 if a request failed.
    """
    from laclrec_tf.benchmark.load import loadtest as run_loadtest

    report = run_loadtest(
        model,
        server=server,
        model_name=model_name,
        serve_arguments=serve_arg or [],
        clients=clients,
        seconds=seconds,
        signature=signature.value,
        k=k,
        rows=rows,
        push_every=push_every,
        seed=seed,
        json_out=json_out,
    )
    console.print(loadtest_table(report))
    if report["failed"]:
        raise typer.Exit(1)


def metrics_table(report: dict[str, Any], ks: Sequence[int], names: Sequence[str]) -> Table:
    """Lay out an evaluation report as a table."""
    title = f"{report['preset']}, {report['trained_on']}, {report['split']} split, {report['protocol']} protocol"
    title += f", edits: {report['edits']}" + f", {report['noise']:.0%} noise" * bool(report["noise"])
    held_out = f", held out by {report['hold_out']}" if "hold_out" in report else ""
    table = Table(title=title, caption=f"{report['users']:,} users{held_out}; {report['tie_rule']}")
    table.add_column("k", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    for k in ks:
        table.add_row(str(k), *(f"{report[f'{name}@{k}']:.4f}" for name in names))
    return table


def noise_table(found: dict[str, Any]) -> Table:
    """Lay out the result of `noise_curve` as a table."""
    title = f"{found['preset']}, {found['trained_on']}, {found['split']} split, {found['protocol']} protocol"
    title += f", noise: {found['kind']}, {found['where']}"
    table = Table(title=title, caption="ndcg@10; in brackets the change over none; p-value over users")
    kinds = [name for name in ("none", "uniform", "learned") if name in found["rows"][0]]
    for name in ("noise", "newest event", "users", *kinds, *(["learned over uniform"] if len(kinds) == 3 else [])):
        table.add_column(name, justify="right")
    for row in found["rows"]:
        cells = [f"{row['rate']:.1%}", row["last"], f"{row['users']:,}", f"{row['none']['ndcg@10']:.4f}"]
        for name in kinds[1:]:
            change = _percent(row["differences"][f"{name} - none"]["difference"])
            cells.append(f"{row[name]['ndcg@10']:.4f} ({change})")
        if len(kinds) == 3:
            over = row["differences"]["learned - uniform"]
            cells.append(f"{_percent(over['difference'])} (p = {over['p_value']:.2g})")
        table.add_row(*cells)
    return table


def _percent(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:+.1%}"


def cost_table(report: dict[str, Any]) -> Table:
    """Lay out a benchmark report as a table."""
    rows = {
        "epoch": f"{report['seconds_per_epoch']:.1f} s",
        "histories per second": f"{report['histories_per_second']:,.0f}",
        "step": f"{report['milliseconds_per_step']:.1f} ms",
        "first step": f"{report['first_step_seconds']:.1f} s",
        "reading an epoch": f"{report['reading_seconds']:.2f} s",
        "peak memory": f"{report['peak_memory_gb']:.2f} GB",
    }
    if "shares" in report:
        rows |= {
            f"time in the {name}": f"{share:.0%}"
            for name, share in report["shares"].items()
            if share or name != "augmenter"
        }
        rows["peak of matrix products"] = f"{report['matrix_peak'] / 1e9:,.0f} GFLOP/s"
        rows["fraction of the peak in training"] = f"{report['fraction_of_peak']:.0%}"
    title = f"{report['preset']}: {report['users']:,} users, {report['items']:,} items"
    return _table_of_values(title, report["machine"], rows)


def _table_of_values(title: str, caption: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, caption=caption, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows.items():
        table.add_row(*row)
    return table


def augmenter_table(report: dict[str, Any]) -> Table:
    """Lay out an augmenter report as a table."""
    title = f"{report['preset']}: {report['histories']:,} validation histories"
    caption = "compared with popularity alone in finding noise, and with random insertions"
    table = Table("", "augmenter", "compared", title=title, caption=caption)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("broken histories, operation head: precision", f"{report['deletions']['precision']:.3f}", "")
    table.add_row("broken histories, operation head: recall", f"{report['deletions']['recall']:.3f}", "")
    kinds = {"popular_noise": "15 % of popular noise planted", "planted_noise": "noise in the data"}
    for kind, title in kinds.items():
        if kind not in report:
            continue
        for name, measure in (("precision", "precision"), ("recall", "recall"), ("good_lost", "good events lost")):
            table.add_row(f"{title}: {measure}", f"{report[kind][name]:.4f}", "")
        for name, measure in (("auc", "AUC"), ("precision_at_n", "precision at n")):
            for suffix, place in (("", "anywhere"), ("_last", "last event")):
                both = (report[kind]["detection"][scores].get(name + suffix) for scores in ("augmenter", "popularity"))
                if None not in (values := list(both)):  # there is noise
                    table.add_row(f"{title}: {measure}, {place}", *map("{:.3f}".format, values))
    for k in (1, 10):
        hit, random = report["insertions"][f"hit@{k}"], report["insertions"][f"hit@{k}_at_random"]
        table.add_row(f"broken histories, insertions: hit@{k}", f"{hit:.4f}", f"{random:.4f}")
    views = report["views"]
    for name in ("learned", "random"):
        table.add_row(f"cosine of raw and {name} view", f"{views[f'cosine_raw_{name}']:.3f}", "")
    table.add_row("share of learned views nearer than the random view", f"{views['learned_is_nearer']:.3f}", "")
    return table


def index_table(report: dict[str, Any]) -> Table:
    """Lay out a report of `index_benchmark` as a table."""
    table = Table("20 best items", "1 query", "32 queries", "", title=f"{report['items']:,} items x {report['width']}")
    for name, index in report["ways"].items():
        times = [f"{index['milliseconds'][queries]:.2f} ms" for queries in ("1 query", "32 queries")]
        about = ", ".join(f"{key} {value}" for key, value in index.items() if key != "milliseconds")
        table.add_row(name, *times, about)
    return table


def loadtest_table(report: dict[str, Any]) -> Table:
    """Lay out a report of `loadtest` as a table."""
    rows = {"first request": f"{report['first_request_ms']:.2f} ms"} if "first_request_ms" in report else {}
    rows |= {
        "clients": str(report["clients"]),
        "requests": f"{report['requests']:,}",
        "answers per second": f"{report['requests_per_second']:,.0f}",
        **{name: f"{value:.2f} ms" for name, value in report["latency_ms"].items()},
        "failed": f"{report['failed']:,}",
        **{f"  {status}": f"{count:,}" for status, count in report["errors"].items()},
    }
    if report["pushed"]:
        rows["pushed versions"] = f"{len(report['pushed'])}, then served: {report['model_version_after']}"
    memory = report.get("memory_mb", {})
    if memory.get("before") and memory.get("after"):
        rows["memory of the server"] = f"{memory['before']:,.0f} MB before, {memory['after']:,.0f} MB after"
    histories = "1 history" if report["rows"] == 1 else f"{report['rows']} histories"
    title = (
        f"{report['model']} version {report['model_version']}: {report['items']:,} items, {report['signature']}, "
        f"{histories} per request"
    )
    return _table_of_values(title, report["machine"], rows)
