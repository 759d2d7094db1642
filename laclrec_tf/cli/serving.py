"""The commands from a run to a served model; `cli` adds them to its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from laclrec_tf.cli.options import BeamOptions, Engine, EngineOption, IndexKind, LogFormat, RunnerOption, parse_items
from laclrec_tf.runtime.cloud_storage import on_this_machine
from laclrec_tf.runtime.tensorflow_startup import compile_no_products, import_tensorflow_quietly, silence_grpc
from laclrec_tf.runtime.terminal import terminal

batch_app = typer.Typer()
console = terminal()
EVENTS = "Names of columns, for files of events"
serving_app = typer.Typer()
LOAD, TLS = "Batching and limits", "TLS"  # groups in the help of `serve`


@batch_app.command("recommend-all")
def recommend_all(
    model: Annotated[str, typer.Argument(help="saved_models/NAME, its newest version, or saved_models/NAME/VERSION.")],
    histories: Annotated[list[str], typer.Argument(help="A folder made by `prepare`, or files of events.")],
    out: Annotated[str, typer.Option(metavar="FILE.parquet", help="The table to make, a row for each user.")],
    k: Annotated[int, typer.Option(help="How many items a user.", min=1)] = 10,
    keep_history: Annotated[bool, typer.Option("--keep-history", help="Items of the history may come, too.")] = False,
    max_length: Annotated[
        int | None, typer.Option(help="Most recent events of each user. Default: 50, or as prepared.", min=1)
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="Default: user_id.", rich_help_panel=EVENTS)] = None,
    item_column: Annotated[str | None, typer.Option(help="Default: item_id.", rich_help_panel=EVENTS)] = None,
    time_column: Annotated[str | None, typer.Option(help="Default: timestamp.", rich_help_panel=EVENTS)] = None,
    engine: EngineOption = Engine.local,
    runner: RunnerOption = None,
    beam_option: BeamOptions = None,
) -> None:
    """Recommend items for every user, into one Parquet file; killed, it goes on where it was."""
    import_tensorflow_quietly()
    from laclrec_tf.beam.runner import pipelines_of

    names = {"user_column": user_column, "item_column": item_column, "time_column": time_column}
    settings: dict[str, Any] = {
        "k": k,
        "exclude_history": not keep_history,
        "max_length": max_length,
        "columns": {name: value for name, value in names.items() if value is not None},
    }
    pipelines = pipelines_of(engine.value, runner and runner.value, beam_option or [])
    if pipelines is None:
        from laclrec_tf.serving.local.recommend_all import recommend_all as run

        sources = [on_this_machine(source) for source in histories]
        users = run(on_this_machine(model), sources, on_this_machine(out), **settings)
    else:
        from laclrec_tf.beam.recommend_all import beam_recommend_all

        users = beam_recommend_all(model, histories, out, pipelines=pipelines, **settings)
    console.print(f"wrote {out}: {users:,} users")


@serving_app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A folder made by `train`.")],
    to: Annotated[Path, typer.Option(help="saved_models/NAME; a new integer version is made in it.")],
    index: Annotated[
        IndexKind, typer.Option(help="Score every item, or those of some partitions: for catalogues of millions.")
    ] = IndexKind.exact,
    recall: Annotated[
        float | None, typer.Option(help="For partitions: share of the 20 best items to be found. Default: 0.98.")
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(help="For partitions: how many to begin with. Default: the square root of the items.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="For partitions: look for items with 8-bit vectors.")] = False,
) -> None:
    """Write a run as a versioned SavedModel that TensorFlow Serving loads."""
    import_tensorflow_quietly()
    from laclrec_tf.serving.release.export import IndexSettings
    from laclrec_tf.serving.release.export import export as run_export
    from laclrec_tf.serving.version.metadata import METADATA_FILE, index_description

    settings = IndexSettings(index.value, recall, partitions, int8)
    version = run_export(run, to, index=settings)
    made = json.loads((version / METADATA_FILE).read_text(encoding="utf-8"))["metadata"]["index"]
    console.print(f"wrote {version}, {index_description(made)}")


@serving_app.command()
def push(
    candidate: Annotated[Path, typer.Argument(help="A version's folder, or a model's: its newest version.")],
    to: Annotated[Path, typer.Option(help="saved_models/NAME, the folder that is served.")],
    metric: Annotated[str, typer.Option(help="Of metrics.json; more is better.")] = "ndcg@10",
    tolerance: Annotated[float, typer.Option(help="How much worse than the served version, as a share.")] = 0.02,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prepared data to compare both versions on. Default: what was measured before their exports."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Whatever the comparison says; the record tells so.")] = False,
    keep: Annotated[int, typer.Option(help="Versions that stay, the new one among them.", min=1)] = 3,
) -> None:
    """Validate a version, compare it with the served one, and serve it in its place."""
    import_tensorflow_quietly()
    from laclrec_tf.serving.release.push import push as run_push
    from laclrec_tf.serving.release.push import told

    done = run_push(candidate, to, metric=metric, tolerance=tolerance, data=data, force=force, keep=keep)
    for line in told(done):
        console.print(line)


@serving_app.command()
def rollback(
    model: Annotated[Path, typer.Argument(help="saved_models/NAME, the folder that is served.")],
) -> None:
    """Serve the version before the newest again, under a new number."""
    import_tensorflow_quietly()
    from laclrec_tf.serving.release.push import rollback as run_rollback

    done = run_rollback(model)
    console.print(f"published {done.version}, a copy of version {done.of}, in place of version {done.instead_of}")


@serving_app.command()
def verify(
    model: Annotated[Path, typer.Argument(help="saved_models/NAME, its newest version, or saved_models/NAME/VERSION.")],
) -> None:
    """Check a version's files against the SHA-256 in its manifest."""
    import_tensorflow_quietly()
    from laclrec_tf.serving.release.push import verify as run_verify

    folder, files = run_verify(model)
    console.print(f"{folder}: {files} files, as they were exported")


@serving_app.command()
def serve(
    model: Annotated[
        Path | None, typer.Argument(help="saved_models/NAME; the newest version is served.", show_default=False)
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Or several: TensorFlow Serving's models.config.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="NAME", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="Port of gRPC; 0: any.", min=0)] = 8500,
    rest_port: Annotated[
        int | None, typer.Option(metavar="N", help="Port of REST; 0: any. Default: AIP_HTTP_PORT, else none.", min=0)
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option(metavar="N", help="Between looks for versions that came or went; 0: none.", min=0)
    ] = 1.0,
    grace_seconds: Annotated[float, typer.Option(metavar="N", help="For running requests after SIGTERM.", min=0)] = 5.0,
    batching_parameters_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="In TensorFlow Serving's format.", rich_help_panel=LOAD)
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="max_message_bytes, max_history_length, max_k or max_concurrent_requests. May be repeated.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    intra_op_threads: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Processors for one operation, 0: all. More help large catalogues.",
            min=0,
            rich_help_panel=LOAD,
        ),
    ] = 1,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The server's certificate.", rich_help_panel=TLS)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its key.", rich_help_panel=TLS)] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Who signs clients' certificates: mutual TLS.", rich_help_panel=TLS),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="Text: what goes wrong. JSON: states of versions, too.")
    ] = LogFormat.text,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log each request.")] = False,
) -> None:
    """Serve SavedModels over gRPC and REST with TensorFlow Serving's protocol, until interrupted."""
    compile_no_products()
    import_tensorflow_quietly(intra_op_threads)
    from laclrec_tf.serving.server.batching import read_batching_parameters
    from laclrec_tf.serving.server.model_config import read_model_config
    from laclrec_tf.serving.server.serve import ServeSettings, limits_of, tls_of
    from laclrec_tf.serving.server.serve import serve as run_server

    settings = ServeSettings(
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        grace_seconds=grace_seconds,
        batching=None if batching_parameters_file is None else read_batching_parameters(batching_parameters_file),
        limits=limits_of(limit or []),
        tls=tls_of(tls_cert, tls_key, client_ca),
        rest_port=rest_port,
        log_format=log_format.value,
        access_log=access_log,
        intra_op_threads=intra_op_threads,
    )
    run_server(model, config=None if model_config is None else read_model_config(model_config), settings=settings)


@serving_app.command()
def recommend(
    history: Annotated[str, typer.Option(help='Item ids, oldest first: a,b,"one, with a comma"')],
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a running server.")] = None,
    model_name: Annotated[str | None, typer.Option(help="The model's name on the server.")] = None,
    model: Annotated[Path | None, typer.Option(help="Or a SavedModel folder, without a server.")] = None,
    k: Annotated[int, typer.Option(help="How many items.", min=1)] = 10,
    exclude: Annotated[str, typer.Option(help="Item ids never to recommend, written as in --history.")] = "",
    allow: Annotated[str, typer.Option(help="The only item ids to recommend. Default: all.")] = "",
    keep_history: Annotated[bool, typer.Option("--keep-history", help="Items of the history may come, too.")] = False,
    version: Annotated[int | None, typer.Option(help="The model's version on the server.", min=0)] = None,
    version_label: Annotated[str | None, typer.Option(help="Or its label, such as stable.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Ask over TLS: PEM file of the server's authority.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="Mutual TLS: PEM file of your certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Mutual TLS: PEM file of its key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend the next items for one history, from a server or from a SavedModel folder."""
    if model is not None:  # a server is asked without TensorFlow
        import_tensorflow_quietly()
    silence_grpc()
    from laclrec_tf.serving.local.recommend import recommend as run_recommend

    answer = run_recommend(
        parse_items(history),
        server=server,
        model_name=model_name,
        model=model,
        k=k,
        exclude=parse_items(exclude),
        allow=parse_items(allow),
        exclude_history=not keep_history,
        version=version,
        version_label=version_label,
        root_certificates=tls_ca,
        client_certificate=tls_certificate,
        client_key=tls_key,
    )
    if as_json:
        shown = {"item_ids": list(answer.item_ids), "scores": list(answer.scores), "unknown": answer.unknown}
        typer.echo(json.dumps(shown))
        return
    table = Table("rank", "item", "score")
    for rank, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), start=1):
        table.add_row(str(rank), item, f"{score:.3f}")
    console.print(table)


@serving_app.command()
def explore(
    model: Annotated[Path, typer.Option(help="saved_models/NAME; the newest version is explored.")],
    titles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV or Parquet with the columns item_id and title.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A running server of the folder. Default: one is started.")
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="Of the page; 0: any.", min=0, max=65535)] = 8080,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only tell where the page is.")] = False,
) -> None:
    """Open a page: build a history, see recommendations and what the augmenter does, until interrupted."""
    if server is None:
        import_tensorflow_quietly()
    silence_grpc()
    from laclrec_tf.explorer.app import explore as run_explorer

    run_explorer(model, titles=titles, server=server, port=port, open_browser=not no_browser)
