"""The commands from a run to a served model; `cli` adds them to its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines.item_list import parse_items
from pipelines.quiet_tensorflow import import_tensorflow_quietly
from pipelines.terminal import terminal

serving_app = typer.Typer()
console = terminal()


@serving_app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A folder made by `train`.")],
    to: Annotated[Path, typer.Option(help="saved_models/NAME; a new integer version is made in it.")],
) -> None:
    """Write a run as a versioned SavedModel that TensorFlow Serving loads."""
    import_tensorflow_quietly()
    from pipelines.export import export as run_export

    console.print(f"wrote {run_export(run, to)}")


@serving_app.command()
def serve(
    model: Annotated[
        Path | None, typer.Argument(help="saved_models/NAME; the newest version is served.", show_default=False)
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(help="Or several models: TensorFlow Serving's models.config.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the gRPC service.", min=0, max=65535)] = 8500,
    poll_seconds: Annotated[
        float, typer.Option(help="Seconds between two looks for versions that came or went; 0: never.", min=0)
    ] = 1.0,
    grace_seconds: Annotated[
        float, typer.Option(help="Seconds that running requests may take after SIGTERM.", min=0)
    ] = 5.0,
    max_batch_size: Annotated[int | None, typer.Option(help="Rows run together; 1: no batching. Default: 64.")] = None,
    batch_timeout_micros: Annotated[
        int | None, typer.Option(help="Microseconds that a request waits for others. Default: 0.")
    ] = None,
    max_enqueued_batches: Annotated[
        int | None, typer.Option(help="Batches that may wait; then requests are UNAVAILABLE. Default: 64.")
    ] = None,
    num_batch_threads: Annotated[
        int | None, typer.Option(help="Batches run at the same time. Default: one less than processors.")
    ] = None,
    max_message_bytes: Annotated[int | None, typer.Option(help="Largest request. Default: 64 MiB.")] = None,
    max_history_length: Annotated[
        int | None, typer.Option(help="Most columns of a string input. Default: 1048576.")
    ] = None,
    max_k: Annotated[int | None, typer.Option(help="Largest k. Default: any.")] = None,
    max_concurrent_requests: Annotated[
        int | None, typer.Option(help="Requests answered at the same time. Default: 1024.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The server's certificate, PEM; then it speaks TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Authorities that must have signed a client's certificate, PEM: mutual TLS.")
    ] = None,
    intra_op_threads: Annotated[
        int, typer.Option(help="Processors one operation may use, 0 for all; more help very large catalogues.", min=0)
    ] = 1,
) -> None:
    """Serve SavedModels over gRPC with TensorFlow Serving's protocol, until interrupted."""
    import_tensorflow_quietly(intra_op_threads)
    from pipelines.serve import ServeSettings, batching_of, limits_of, served_config, tls_of
    from pipelines.serve import serve as run_server

    settings = ServeSettings(
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        grace_seconds=grace_seconds,
        batching=batching_of(
            max_batch_size=max_batch_size,
            batch_timeout_micros=batch_timeout_micros,
            max_enqueued_batches=max_enqueued_batches,
            num_batch_threads=num_batch_threads,
        ),
        limits=limits_of(
            max_message_bytes=max_message_bytes,
            max_history_length=max_history_length,
            max_k=max_k,
            max_concurrent_requests=max_concurrent_requests,
        ),
        tls=tls_of(tls_cert, tls_key, client_ca),
        intra_op_threads=intra_op_threads,
    )
    run_server(model, config=None if model_config is None else served_config(model_config), settings=settings)


@serving_app.command()
def recommend(
    history: Annotated[str, typer.Option(help='Item ids, oldest first: a,b,"one, with a comma"')],
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a running server.")] = None,
    model_name: Annotated[str | None, typer.Option(help="The model's name on the server.")] = None,
    model: Annotated[Path | None, typer.Option(help="Or a SavedModel folder, without a server.")] = None,
    k: Annotated[int, typer.Option(help="How many items.", min=1)] = 10,
    exclude: Annotated[str, typer.Option(help="Item ids never to recommend, written as in --history.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend the next items for one history, from a server or from a SavedModel folder."""
    import_tensorflow_quietly()
    from pipelines.recommend import recommend as run_recommend

    answer = run_recommend(
        parse_items(history), server=server, model_name=model_name, model=model, k=k, exclude=parse_items(exclude)
    )
    if as_json:
        typer.echo(json.dumps({"item_ids": list(answer.item_ids), "scores": list(answer.scores)}))
        return
    table = Table("rank", "item", "score")
    for rank, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), start=1):
        table.add_row(str(rank), item, f"{score:.3f}")
    console.print(table)
