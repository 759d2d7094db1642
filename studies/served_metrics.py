"""Compare what `evaluate` says of a run with what the run recommends, with the history excluded and kept.

python studies/served_metrics.py run another-run
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from laclrec_tf.cli.main import run_app
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.metrics.ranking import MISSED, ranking_metrics, served_protocol
from laclrec_tf.recommender import load
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.terminal import terminal

K = 20
TOLERANCE = 1e-6


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders made by `train`.")]) -> None:
    """Print recall@10 and ndcg@10 of both, and fail where any of nine metrics differs by more than 1e-6."""
    table = Table("data", "run", "history", "repeated", "evaluate", "recommend", "max difference")
    largest = 0.0
    for run in runs:
        for exclude_history in (True, False):
            report, served = metrics_of(run, exclude_history)
            difference = max(abs(report[name] - value) for name, value in served.items())
            largest = max(largest, difference)
            shown = [f"{each['recall@10']:.4f} / {each['ndcg@10']:.4f}" for each in (report, served)]
            history = "excluded" if exclude_history else "kept"
            data, repeated = RunFolder.open(run).data.folder.name, f"{report['targets_in_history']:.1%}"
            table.add_row(data, run.name, history, repeated, *shown, f"{difference:.1e}")
    terminal().print(table)
    if largest > TOLERANCE:
        raise InputError(f"A metric differs by {largest:.1e}, more than {TOLERANCE}.")


def metrics_of(run: Path, exclude_history: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the test metrics that `evaluate` reports, and those of the run's recommendations for the same histories.

    Args:
        run: Folder made by `laclrec-tf train`.
        exclude_history: Whether the items of a history are excluded from both.

    Raises:
        InputError: The run or its data cannot be read.
    """
    folder = RunFolder.open(run)
    report = evaluate(run, protocol=served_protocol(exclude_history), show_progress=False)
    pairs = folder.data.split().pairs("test")
    histories = [folder.vocabulary.to_items(history.tolist()) for history, _ in pairs]
    targets = folder.vocabulary.to_items([target for _, target in pairs])
    answers = load(run).recommend(histories, k=K, exclude_history=exclude_history)
    places = [
        answer.item_ids.index(target) if target in answer.item_ids else MISSED
        for answer, target in zip(answers, targets, strict=True)
    ]
    return report, ranking_metrics(np.array(places))


if __name__ == "__main__":
    run_app(main, "served_metrics.py")
