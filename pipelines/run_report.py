"""A run's report: one self-contained HTML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.training.logs import run_epochs
from pipelines.held_out_users import held_out_users
from pipelines.report_examples import report_examples
from pipelines.report_page import report_page
from pipelines.run_measurement import K, measure_run

MOST_USERS = 10_000
N_EXAMPLES = 3


def report(
    run: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    users: int = MOST_USERS,
    seed: int = 0,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Write a page on a run that opens in any browser, without a network, and prints.

    It holds the learning curves, metrics by length of the history and by popularity of the next item, coverage,
    novelty and diversity of the lists, and examples good and bad. Of a run with an augmenter also how well its
    probabilities are calibrated, and what it deletes and inserts most.

    Args:
        run: a folder made by `laclrec-tf train`, or by `grow`.
        out: the HTML file to write; one that is there is replaced.
        data: the prepared data, if it was moved since. Default: where the run found it.
        users: measure on at most so many users of the test split, drawn at random. Default: 10,000.
        seed: of the draws: users, examples, broken histories. Default: 0.
        show_progress: a spinner on standard error. Default: True.

    Returns:
        What was measured, see `pipelines.run_measurement.measure_run`.

    Raises:
        InputError: the run or its data cannot be read, `out` cannot be written, or `users` is below 1.

    Example:
        >>> report("run", "report.html")["metrics"]["recall@10"]  # doctest: +SKIP
        0.0731
    """
    if users < 1:
        raise InputError(f"Argument `users` must be at least 1. Received: {users}.")
    folder = RunFolder.open(run)
    if data is not None:
        folder = replace(folder, record=folder.record | {"data_folder": str(data)})
    file = ReportFile(out)
    epochs = run_epochs(folder.folder)
    with spinner(f"looking at {folder.folder}", disable=not show_progress):
        asked = held_out_users(folder, most=users, k=K, seed=seed)
        found = measure_run(folder, asked, seed)
        examples = report_examples(folder, asked, n=N_EXAMPLES, seed=seed)
        page = report_page(folder, found, epochs, examples)
    file.write(page.encode())
    return found
