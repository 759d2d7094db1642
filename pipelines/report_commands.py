"""The command that writes a run's report; `cli` adds it to its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laclrec_tf.runtime.tensorflow_startup import import_tensorflow_quietly
from laclrec_tf.runtime.terminal import terminal

report_app = typer.Typer()
console = terminal()


@report_app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A folder made by `train`, or by `grow`.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    data: Annotated[
        Path | None, typer.Option(help="The folder made by `prepare`, if it was moved since the training.")
    ] = None,
    users: Annotated[int, typer.Option(help="Measure on at most so many users, drawn at random.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of users, examples and broken histories.", min=0)] = 0,
) -> None:
    """Write a run's report: one HTML file with curves, metrics by group, the augmenter's edits and examples."""
    import_tensorflow_quietly()
    from laclrec_tf.report.report import report as write_report

    found = write_report(run, out, data=data, users=users, seed=seed)
    metrics = found["metrics"]
    console.print(
        f"wrote {out}: {found['users']:,} users, recall@10 {metrics['recall@10']:.4f}, ndcg@10 {metrics['ndcg@10']:.4f}"
    )
