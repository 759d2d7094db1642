"""Compare models over seeds and data sets: train and evaluate what is missing, then report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_report import augmenter_report
from laclrec_tf.evaluation.evaluate import evaluate_users
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import file_lock
from laclrec_tf.runtime.processes import ProcessKilledError, call_in_a_process
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.study.config import StudyConfig
from laclrec_tf.study.records import LAST_PLACE, read_results, write_result
from laclrec_tf.study.report import write_report
from laclrec_tf.study.runs import Cell, check_cell
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.setup import config_for_data
from laclrec_tf.training.train import train


def study(study_file: str | Path, out: str | Path, *, show_progress: bool = True) -> list[dict[str, Any]]:
    """Train and evaluate every model of a study with every seed on every data set, then write the report.

    Trainings run one at a time, each in its own process. Finished trainings are not repeated. An interrupted study
    resumes its training from the newest checkpoint, and models or seeds that are added to the study file are trained.

    Args:
        study_file: YAML or JSON file, see `StudyConfig`.
        out: The study's folder: `results/` (records and ranks), `runs/` (models), `augmenter/` (see
            `augmenter_report`), `report.md`, `metrics.csv` and plots.
        show_progress: Whether to show progress on standard error. Default: True.

    Returns:
        The records in `results/`, in the order of the study.

    Raises:
        InputError: The study file is wrong, data is missing, `out` holds results of other settings, another process
            uses it, or a training was killed.

    Example:
        >>> records = study("study.yaml", "study")  # doctest: +SKIP
        >>> records[0]["evaluations"]["full"]["ndcg@10"]  # doctest: +SKIP
        0.0607
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
    with file_lock(out / ".lock", busy=f"Another process uses {out}. Wait until it ends, or give another --out."):
        missing = [cell for cell in cells if not cell.result.exists()]
        if len(missing) < len(cells):
            console.print(f"{len(cells) - len(missing)} of {len(cells)} trainings are finished already")
        started = time.perf_counter()
        for number, cell in enumerate(missing):
            left = "" if not number else _left((time.perf_counter() - started) / number * (len(missing) - number))
            console.rule(f"{cells.index(cell) + 1}/{len(cells)} {cell.name}{left}")
            _in_a_process(cell, show_progress)
        records = report_study(study_file, out)
    console.print(f"wrote {out / 'report.md'}")
    return records


def report_study(study_file: str | Path, out: str | Path) -> list[dict[str, Any]]:
    """Write the report of the trainings that a study's folder holds. It needs neither data nor models.

    Args:
        study_file: The study's file.
        out: The study's folder, made by `study` or by `laclrec_tf.study.records.unpack_study`.

    Returns:
        The records in `results/`, in the order of the study.

    Raises:
        InputError: The study file is wrong, or `out` holds no results of it or damaged ones.

    Example:
        >>> records = report_study("studies/beauty_models.yaml", "beauty-models")  # doctest: +SKIP
    """
    study_file, out = Path(study_file), Path(out)
    config = StudyConfig.read(study_file, to_train=False)
    records, ranks = read_results(config, out)
    if not records:
        raise InputError(f"{out} holds no results of {study_file}. Make them with `laclrec-tf study`.")
    write_report(config, records, ranks, out, f"laclrec-tf study {_as_given(study_file)} --out {_as_given(out)}")
    return records


def _as_given(path: Path) -> str:
    """Return a path as it was typed, except for folders that only this machine has."""
    return path.name if path.is_absolute() else path.as_posix()


def _cells(config: StudyConfig, out: Path) -> Iterator[Cell]:
    for data, model, seed, trained_on in config.trainings():
        yield Cell(
            data,
            config.data[data],
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


def _in_a_process(cell: Cell, show_progress: bool) -> None:
    try:
        call_in_a_process(run_cell, cell, show_progress)
    except ProcessKilledError:
        raise InputError(
            f"The training {cell.name} was killed, perhaps for lack of memory. Run the same command again to resume."
        ) from None


def _left(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f", about {f'{hours} h ' if hours else ''}{minutes} min left"


def run_cell(cell: Cell, show_progress: bool = True) -> None:
    """Train one cell or resume its training, evaluate it, and write its result.

    Args:
        cell: The training. Its `run` and, if requested, its `augmenter_report` are written, and last its `result`.
        show_progress: Whether to show progress on standard error. Default: True.

    Raises:
        InputError: The data cannot be read, or the run folder holds another training.
    """
    strict = RunFolder.open(cell.strict_run) if cell.takes_calibration_over else None
    train(
        cell.data_folder,
        cell.run,
        cell.settings_to_train(),
        checkpoints=CheckpointSettings(resume=True),
        show_progress=show_progress,
        calibrated=strict,
    )
    run = RunFolder.open(cell.run)
    reports, ranks = _evaluate(cell, run, show_progress)
    measured = None
    if cell.augmenter and run.model.has_augmenter:
        shutil.rmtree(cell.augmenter_report, ignore_errors=True)
        measured = augmenter_report(cell.run, cell.augmenter_report, truth=cell.truth)
    record = {
        "data": cell.data,
        "model": cell.model,
        "evaluations": reports,
        "skipped": [name for name in cell.evaluations if name not in reports],
        **({"augmenter": measured} if cell.augmenter else {}),  # None: the model has no augmenter
        **{name: run.record[name] for name in ("seconds", "trained_on", "data_hash", "versions")},
        **{
            name: run.record.get(name)
            for name in ("best_epoch", "epochs_run", "refit_epochs", "validation", "diverged")
        },
        "exclude_history": run.exclude_history,
        "seed": cell.seed,
        "settings": config_for_data(cell.config, run.data).resolved(),
        "curve": _curve(cell.run / "epochs-strict.csv"),
    }
    write_result(cell.result, record, ranks)


def _evaluate(
    cell: Cell, run: RunFolder, show_progress: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Return by name the reports and ranks of the evaluations that fit the run."""
    reports: dict[str, dict[str, Any]] = {}
    ranks: dict[str, np.ndarray] = {}
    for name, evaluation in cell.evaluations.items():
        if evaluation.leaves_out(cell.data) or not evaluation.suits(run.model.has_augmenter, "edits" in run.record):
            continue
        reports[name], users = evaluate_users(
            cell.run,
            split=cell.split,  # type: ignore[arg-type]
            protocol=evaluation.protocol,
            histories=evaluation.histories.get(cell.data),
            clean=evaluation.clean,
            edits=evaluation.edits,
            noise=evaluation.noise,
            show_progress=show_progress,
        )
        reports[name]["edits_chosen"] = evaluation.edits == "chosen"
        ranks[name] = np.minimum(users["rank"].to_numpy() - 1, LAST_PLACE).astype(np.uint8)
    return reports, ranks


def _curve(file: Path) -> list[float]:
    if not file.exists():
        return []
    table = np.genfromtxt(file, delimiter=",", names=True, deletechars="")
    return [round(float(value), 5) for value in np.atleast_1d(table["val_ndcg@10"])]
