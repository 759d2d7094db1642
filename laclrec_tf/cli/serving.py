"""The commands from a run to its answers: `export`, `push`, `rollback`, `verify`, `serve`, `recommend` and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from laclrec_tf.cli.options import (
    BeamOptions,
    Commands,
    Edits,
    EditsOption,
    Engine,
    EngineOption,
    ExcludeHistory,
    IndexKind,
    Int8,
    K,
    LogFormat,
    Partitions,
    Recall,
    Run,
    RunnerOption,
    TitleColumn,
    TitleItemColumn,
    Titles,
    parse_items,
    place_argument,
    place_option,
    refuse_columns_of_titles,
)
from laclrec_tf.runtime.cloud_storage import reachable
from laclrec_tf.runtime.tensorflow_startup import compile_no_products, import_tensorflow_quietly
from laclrec_tf.runtime.terminal import terminal

serving_app = Commands()
console = terminal()
ServedModel = Annotated[Path, place_argument(help="saved_models/NAME, the folder that is served.")]
MODEL = "saved_models/NAME for its newest version, or saved_models/NAME/VERSION."
COLUMNS, LIMITS, TLS = "Columns of files of events", "Batching and limits", "TLS"  # groups of options in the help


@serving_app.command()
def export(
    run: Run,
    to: Annotated[Path, place_option(help="saved_models/NAME; a new integer version is created in it.")],
    index: Annotated[
        IndexKind, typer.Option(help="Score all items, or only some partitions of a catalogue of millions.")
    ] = IndexKind.exact,
    recall: Recall = None,
    partitions: Partitions = None,
    int8: Int8 = False,
    edits: EditsOption = Edits.chosen,
    exclude_history: ExcludeHistory = None,
) -> None:
    """Write a run as a versioned SavedModel that TensorFlow Serving loads."""
    from laclrec_tf.serving.release.export import IndexSettings
    from laclrec_tf.serving.release.export import export as run_export
    from laclrec_tf.serving.version.metadata import METADATA_FILE, index_description

    settings = IndexSettings(index.value, recall, partitions, int8)
    version = run_export(run, to, index=settings, edits=edits.value, exclude_history=exclude_history)
    about = json.loads((version / METADATA_FILE).read_text(encoding="utf-8"))
    made, history = about["metadata"], "excluded" if about["exclude_history"] else "kept"
    console.print(
        f"wrote {version}, {index_description(made['index'])}, edits: {made['served_edits']}, history: {history}"
    )


@serving_app.command()
def push(
    candidate: Annotated[Path, place_argument(help=MODEL)],
    to: Annotated[Path, place_option(help="saved_models/NAME, the folder that is served.")],
    metric: Annotated[str, typer.Option(help="Metric of metrics.json to compare; higher is better.")] = "ndcg@10",
    tolerance: Annotated[float, typer.Option(help="Max loss against the served version, as a share.")] = 0.02,
    data: Annotated[
        Path | None,
        place_option(help="Prepared data to compare both versions on. Default: compare the metrics in their exports."),
    ] = None,
    exclude_history: ExcludeHistory = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish whatever the comparison says. The record notes it.")
    ] = False,
    keep: Annotated[int, typer.Option(help="Number of versions to keep, with the new one.", min=1)] = 3,
) -> None:
    """Validate a version, compare it with the served version, and publish it to be served next."""
    from laclrec_tf.serving.release.push import push as run_push

    done = run_push(
        candidate,
        to,
        metric=metric,
        tolerance=tolerance,
        data=data,
        exclude_history=exclude_history,
        force=force,
        keep=keep,
    )
    for line in done.report():
        console.print(line)


@serving_app.command()
def rollback(model: ServedModel) -> None:
    """Publish the version before the served one again, under a new number."""
    from laclrec_tf.serving.release.rollback import rollback as run_rollback

    done = run_rollback(model)
    console.print(f"published {done.version}, a copy of version {done.of}, in place of version {done.instead_of}")


@serving_app.command()
def verify(model: Annotated[Path, place_argument(help=MODEL)]) -> None:
    """Check the files of a version against the SHA-256 digests in its manifest."""
    from laclrec_tf.serving.version.manifest import verify as run_verify

    folder, files = run_verify(model)
    console.print(f"{folder}: {files} files, as they were exported")


@serving_app.command(tensorflow=False)
def serve(
    model: Annotated[
        Path | None, place_argument(help="saved_models/NAME; its newest version is served.", show_default=False)
    ] = None,
    model_config: Annotated[
        Path | None, place_option(metavar="FILE", help="Or several models: a models.config of TensorFlow Serving.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Address to listen on. Default: 127.0.0.1; for REST on AIP_HTTP_PORT 0.0.0.0.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="Port of gRPC; 0: any.", min=0)] = 8500,
    rest_port: Annotated[
        int | None, typer.Option(metavar="N", help="Port of REST; 0: any. Default: AIP_HTTP_PORT, or none.", min=0)
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option(metavar="N", help="Seconds between two checks for versions; 0: no checks.", min=0)
    ] = 1.0,
    grace_seconds: Annotated[
        float, typer.Option(metavar="N", help="Max seconds for running requests after SIGTERM.", min=0)
    ] = 5.0,
    batching_parameters_file: Annotated[
        Path | None, place_option(metavar="FILE", help="In TensorFlow Serving's format.", rich_help_panel=LIMITS)
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="max_message_bytes, max_history_length, max_k or max_concurrent_requests. May be repeated.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    intra_op_threads: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Threads of one operation; 0: all processors. Large catalogues need more.",
            min=0,
            rich_help_panel=LIMITS,
        ),
    ] = 1,
    tls_cert: Annotated[
        Path | None, place_option(metavar="PEM", help="Certificate of the server.", rich_help_panel=TLS)
    ] = None,
    tls_key: Annotated[Path | None, place_option(metavar="PEM", help="Key of the server.", rich_help_panel=TLS)] = None,
    client_ca: Annotated[
        Path | None,
        place_option(metavar="PEM", help="Authority of client certificates, for mutual TLS.", rich_help_panel=TLS),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="text: warnings and errors. json: also states of versions.")
    ] = LogFormat.text,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log each request.")] = False,
) -> None:
    """Serve SavedModels over gRPC and REST with TensorFlow Serving's protocol, until interrupted."""
    compile_no_products()
    import_tensorflow_quietly(intra_op_threads)
    from laclrec_tf.serving.server.config_files import read_batching_parameters, read_model_config
    from laclrec_tf.serving.server.serve import ServeSettings, limits_of
    from laclrec_tf.serving.server.serve import serve as run_server
    from laclrec_tf.serving.tls import TlsFiles

    settings = ServeSettings(
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        grace_seconds=grace_seconds,
        batching=None if batching_parameters_file is None else read_batching_parameters(batching_parameters_file),
        limits=limits_of(limit or []),
        tls=TlsFiles.if_given(tls_cert, tls_key, client_ca),
        rest_port=rest_port,
        log_format=log_format.value,
        access_log=access_log,
        intra_op_threads=intra_op_threads,
    )
    run_server(model, config=None if model_config is None else read_model_config(model_config), settings=settings)


@serving_app.command(tensorflow=lambda given: given["model"] is not None)
def recommend(
    context: typer.Context,
    history: Annotated[str, typer.Option(help='Item ids, oldest first: a,b,"one, with a comma"')],
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Address of a running server.")] = None,
    model_name: Annotated[str | None, typer.Option(help="Name of the model on the server.")] = None,
    model: Annotated[Path | None, place_option(help="SavedModel folder, in place of --server.")] = None,
    k: K = 10,
    exclude: Annotated[str, typer.Option(help="Item ids never to recommend, written as in --history.")] = "",
    allow: Annotated[str, typer.Option(help="The only item ids to recommend. Default: all.")] = "",
    exclude_history: ExcludeHistory = None,
    version: Annotated[int | None, typer.Option(metavar="N", help="Version of the model on the server.", min=0)] = None,
    version_label: Annotated[str | None, typer.Option(help="Or label of the version, e.g. stable.")] = None,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Max time to wait for a server that is starting.", show_default=False),
    ] = None,
    tls_ca: Annotated[
        Path | None, place_option(metavar="PEM", help="Authority of the server's certificate: use TLS.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, place_option(metavar="PEM", help="Certificate of the client, for mutual TLS.")
    ] = None,
    tls_key: Annotated[Path | None, place_option(metavar="PEM", help="Key of the client, for mutual TLS.")] = None,
    titles: Titles = None,
    title_column: TitleColumn = "title",
    title_item_column: TitleItemColumn = "item_id",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend the next items for one history, from a server or a SavedModel folder."""
    from laclrec_tf.serving.local.recommend import recommend as run_recommend

    refuse_columns_of_titles(context, titles)
    named = {}
    if titles is not None:
        from laclrec_tf.data.item_vectors import read_titles

        named = read_titles(titles, item_column=title_item_column, title_column=title_column)
    answer = run_recommend(
        parse_items(history),
        server=server,
        model_name=model_name,
        model=model,
        k=k,
        exclude=parse_items(exclude),
        allow=parse_items(allow),
        exclude_history=exclude_history,
        version=version,
        version_label=version_label,
        wait=wait,
        root_certificates=tls_ca,
        client_certificate=tls_certificate,
        client_key=tls_key,
    )
    if as_json:
        shown = {"item_ids": list(answer.item_ids), "scores": list(answer.scores), "unknown": answer.unknown}
        shown |= {} if titles is None else {"titles": [named.get(item) for item in answer.item_ids]}
        typer.echo(json.dumps(shown))
        return
    table = Table("rank", "item", "score", *([] if titles is None else ["title"]))
    for rank, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), start=1):
        table.add_row(str(rank), item, f"{score:.4g}", *([] if titles is None else [named.get(item, "")]))
    console.print(table)


@serving_app.command("recommend-all")
def recommend_all(
    model: Annotated[str, typer.Argument(help=MODEL)],
    histories: Annotated[list[str], typer.Argument(help="Data folder made by `prepare`, or files of events.")],
    out: Annotated[str, typer.Option(metavar="FILE.parquet", help="Table to write, with one row for each user.")],
    k: K = 10,
    exclude_history: ExcludeHistory = None,
    max_length: Annotated[
        int | None, typer.Option(help="Max number of latest events of each user. Default: all.", min=1)
    ] = None,
    user_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the user ids. Default: user_id.", rich_help_panel=COLUMNS),
    ] = None,
    item_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the item ids. Default: item_id.", rich_help_panel=COLUMNS),
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the times. Default: timestamp.", rich_help_panel=COLUMNS),
    ] = None,
    engine: EngineOption = Engine.local,
    runner: RunnerOption = None,
    beam_option: BeamOptions = None,
) -> None:
    """Recommend items for every user, into one Parquet file. After a kill, the same command resumes."""
    from laclrec_tf.beam.runner import pipelines_of

    names = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    settings: dict[str, Any] = {
        "k": k,
        "exclude_history": exclude_history,
        "max_length": max_length,
        "columns": {name: value for name, value in names.items() if value is not None},
    }
    pipelines = pipelines_of(engine.value, runner and runner.value, beam_option or [])
    if pipelines is None:
        from laclrec_tf.serving.local.recommend_all import recommend_all as run

        sources = [reachable(source) for source in histories]
        users = run(reachable(model), sources, reachable(out), **settings)
    else:
        from laclrec_tf.beam.recommend_all import beam_recommend_all

        users = beam_recommend_all(model, histories, out, pipelines=pipelines, **settings)
    console.print(f"wrote {out}: {users:,} users")


@serving_app.command(tensorflow=lambda given: given["server"] is None)
def explore(
    context: typer.Context,
    model: Annotated[Path, place_option(help="saved_models/NAME; its newest version is explored.")],
    titles: Titles = None,
    title_column: TitleColumn = "title",
    title_item_column: TitleItemColumn = "item_id",
    exclude_history: ExcludeHistory = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Running server of the folder. Default: one is started."),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="Port of the page; 0: any.", min=0, max=65535)] = 8080,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, but open no browser.")] = False,
) -> None:
    """Open a page to build a history, and see its recommendations and what the augmenter does to it."""
    from laclrec_tf.explorer.app import explore as run_explorer

    refuse_columns_of_titles(context, titles)
    run_explorer(
        model,
        titles=titles,
        title_column=title_column,
        title_item_column=title_item_column,
        exclude_history=exclude_history,
        server=server,
        port=port,
        open_browser=not no_browser,
    )
