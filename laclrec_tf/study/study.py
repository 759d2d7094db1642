"""Compare models over seeds and data sets: train what is missing, evaluate it, report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_report import augmenter_report
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import atomic_write, file_lock
from laclrec_tf.runtime.processes import ProcessKilledError, call_in_a_process
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.report import write_report
from laclrec_tf.study.runs import LAST_PLACE, Cell, check_cell
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.train import train


def study(study_file: str | Path, out: str | Path, *, show_progress: bool = True) -> list[dict[str, Any]]:
    """Train and evaluate every model of a study with every seed on every data set, then write the report.

    One training runs at a time, in a process of its own. What is done already is not done again: a study that was
    interrupted goes on in the middle of the training it was in, from its newest checkpoint, and one whose file names
    more models or seeds trains those.

    Args:
        study_file: see `StudyConfig`.
        out: the study's folder: `results/` (numbers and ranks), `runs/` (models), `augmenter/` (see
            `augmenter_report`), `report.md`, `metrics.csv`, plots.
        show_progress: Default: True.

    Returns:
        The records in `results/`, in the order of the study.

    Raises:
        InputError: the study file is wrong, data is missing, `out` holds results of other settings, another process
            works on it, or a training was killed.
    """
    study_file, out = Path(study_file), Path(out)
    config = StudyConfig.read(study_file)
    cells = list(_cells(config, out))
    for cell in cells:
        check_cell(cell)
    try:
        (out / "results").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {out}: {error.strerror}.") from None
    console = terminal(stderr=True)
    console.quiet = not show_progress
    with file_lock(out / ".lock", busy=f"Another process works on {out}. Wait for it, or give another --out."):
        missing = [cell for cell in cells if not cell.result.exists()]
        if len(missing) < len(cells):
            console.print(f"{len(cells) - len(missing)} of {len(cells)} trainings are done already")
        started = time.perf_counter()
        for number, cell in enumerate(missing):
            left = "" if not number else _left((time.perf_counter() - started) / number * (len(missing) - number))
            console.rule(f"{cells.index(cell) + 1}/{len(cells)} {cell.name}{left}")
            _in_a_process(cell, show_progress)
        records = [cell.read_record() for cell in cells]
        ranks = [cell.read_ranks() for cell in cells]
        write_report(config, records, ranks, out, f"laclrec-tf study {_as_given(study_file)} --out {_as_given(out)}")
    console.print(f"wrote {out / 'report.md'}")
    return records


def _cells(config: StudyConfig, out: Path) -> Iterator[Cell]:
    for data, folder in config.data.items():
        for seed in config.seeds:
            for model in config.models:
                for trained_on in ("strict", "refit") if model in config.refit else ("strict",):
                    yield Cell(
                        data,
                        folder,
                        model,
                        seed,
                        trained_on,
                        config.split,
                        config.settings_of(model, seed),
                        config.evaluations,
                        config.augmenter and trained_on == "strict",
                        config.truth.get(data),
                        out,
                    )


def _as_given(path: Path) -> str:
    """Return a path as it was typed, but for folders that only this machine has."""
    return path.name if path.is_absolute() else path.as_posix()


def _in_a_process(cell: Cell, show_progress: bool) -> None:
    try:
        call_in_a_process(run_cell, cell, show_progress)
    except ProcessKilledError:
        raise InputError(
            f"The training {cell.name} was killed, perhaps for want of memory. Run the same command again to go on."
        ) from None


def run_cell(cell: Cell, show_progress: bool = True) -> None:
    """Train one cell, or what is left of its training, evaluate it, and write its result.

    Args:
        cell: writes its `run`, its `augmenter_report` if that is asked for, its `ranks`, and last its `result`.
        show_progress: Default: True.

    Raises:
        InputError: the data cannot be read, or the run folder holds another training.
    """
    resumed = CheckpointSettings(resume=True)
    train(cell.data_folder, cell.run, cell.settings_to_train(), checkpoints=resumed, show_progress=show_progress)
    run = RunFolder.open(cell.run)
    reports, ranks = _evaluate(cell, run, show_progress)
    measured = None
    if cell.augmenter and run.model.has_augmenter:
        shutil.rmtree(cell.augmenter_report, ignore_errors=True)
        measured = augmenter_report(cell.run, cell.augmenter_report, truth=cell.truth)
    np.savez_compressed(cell.ranks, **ranks)  # type: ignore[arg-type]
    record = {
        "data": cell.data,
        "model": cell.model,
        "evaluations": reports,
        "skipped": [name for name in cell.evaluations if name not in reports],
        **({"augmenter": measured} if cell.augmenter else {}),  # None: it has none
        **{name: run.record[name] for name in ("seconds", "trained_on", "data_hash", "versions")},
        **{name: run.record.get(name) for name in ("best_epoch", "epochs_run", "refit_epochs", "validation")},
        "seed": cell.seed,
        "settings": cell.config.resolved(),
        "curve": _curve(cell.run / "epochs-strict.csv"),
    }
    with atomic_write(cell.result) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _evaluate(
    cell: Cell, run: RunFolder, show_progress: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Return by name the reports and ranks of the evaluations that the run can be asked for."""
    reports: dict[str, dict[str, Any]] = {}
    ranks: dict[str, np.ndarray] = {}
    ranks_file = cell.run / "ranks.npy"
    for name, evaluation in cell.evaluations.items():
        if evaluation.leaves_out(cell.data) or (evaluation.clean and not run.model.has_augmenter):
            continue
        reports[name] = evaluate(
            cell.run,
            split=cell.split,  # type: ignore[arg-type]
            protocol=evaluation.protocol,
            histories=evaluation.histories.get(cell.data),
            clean=evaluation.clean,
            ranks_out=ranks_file,
            show_progress=show_progress,
        )
        ranks[name] = np.minimum(np.load(ranks_file), LAST_PLACE).astype(np.uint8)
    return reports, ranks


def _curve(file: Path) -> list[float]:
    if not file.exists():
        return []
    table = np.genfromtxt(file, delimiter=",", names=True, deletechars="")
    return [round(float(value), 5) for value in np.atleast_1d(table["val_ndcg@10"])]


def _left(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f", about {f'{hours} h ' if hours else ''}{minutes} min left"
