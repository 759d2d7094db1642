"""Compare models over seeds and data sets: train what is missing, evaluate it, report."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from pipelines.augmenter_report import augmenter_report
from pipelines.child_process import ProcessKilledError, call_in_a_process
from pipelines.config import TrainConfig, with_dependent_defaults
from pipelines.evaluate import evaluate
from pipelines.run_folder import RunFolder
from pipelines.study_config import Evaluation, StudyConfig, training_name
from pipelines.study_report import write_report
from pipelines.terminal import terminal
from pipelines.train import train

# Metrics look at the first twenty places only.
LAST_PLACE = 20


@dataclass(frozen=True)
class Cell:
    """One training of a study and what is evaluated on it."""

    data: str
    data_folder: str
    model: str
    seed: int
    trained_on: str
    split: str
    config: TrainConfig
    evaluations: dict[str, Evaluation]
    augmenter: bool
    truth: str | None
    out: Path

    @property
    def name(self) -> str:
        """The name of its files."""
        return training_name(self.data, self.model, self.seed, self.trained_on)

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.out / "runs" / self.name

    @property
    def result(self) -> Path:
        """What it came to; written last."""
        return self.out / "results" / f"{self.name}.json"

    @property
    def augmenter_report(self) -> Path:
        """What its augmenter does, if that is measured."""
        return self.out / "augmenter" / self.name

    @property
    def ranks(self) -> Path:
        """Each user's rank in each evaluation, `[U]` uint8, `LAST_PLACE` for all places from there on."""
        return self.result.with_suffix(".npz")


def study(study_file: str | Path, out: str | Path, *, show_progress: bool = True) -> list[dict[str, Any]]:
    """Train and evaluate every model of a study with every seed on every data set, then write the report.

    One training runs at a time, in a process of its own. What is done already is not done again: a study that was
    interrupted goes on with the training it was in, and one whose file names more models or seeds trains those.

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
        _check(cell)
    try:
        (out / "results").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {out}: {error.strerror}.") from None
    console = terminal(stderr=True)
    console.quiet = not show_progress
    with _alone(out):
        missing = [cell for cell in cells if not cell.result.exists()]
        if len(missing) < len(cells):
            console.print(f"{len(cells) - len(missing)} of {len(cells)} trainings are done already")
        started = time.perf_counter()
        for number, cell in enumerate(missing):
            left = "" if not number else _left((time.perf_counter() - started) / number * (len(missing) - number))
            console.rule(f"{cells.index(cell) + 1}/{len(cells)} {cell.name}{left}")
            _in_a_process(cell, show_progress)
        records = [json.loads(cell.result.read_text(encoding="utf-8")) for cell in cells]
        ranks = [dict(np.load(cell.ranks)) for cell in cells]
        write_report(config, records, ranks, out, f"laclrec-tf study {study_file.name} --out {out.name}")
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


def _check(cell: Cell) -> None:
    """Refuse results of other settings or data, and what would fail hours later."""
    files = [file for evaluation in cell.evaluations.values() for file in evaluation.histories.values()]
    for file in [*files, *([cell.truth] if cell.truth else [])]:
        if not Path(file).is_file():
            raise InputError(f"The file {file} of the study is missing.")
    if not cell.result.exists():
        PreparedData.open(cell.data_folder)
        return
    record = json.loads(cell.result.read_text(encoding="utf-8"))
    if Path(cell.data_folder).exists() and PreparedData.open(cell.data_folder).data_hash != record["data_hash"]:
        raise InputError(
            f"{cell.data_folder} now holds other data than {cell.result} was made with. "
            "Prepare the old events again, or give another --out."
        )
    wanted = json.loads(json.dumps({"settings": cell.config.resolved(), "evaluations": sorted(cell.evaluations)}))
    # Earlier records have None where a default depends on other settings.
    found = {"settings": with_dependent_defaults(record["settings"]), "evaluations": sorted(record["evaluations"])}
    if record["skipped"]:
        found["evaluations"] = sorted({*found["evaluations"], *record["skipped"]})
    measured = record.get("augmenter")
    has_no_truth = cell.truth and measured and "planted_noise" not in measured
    if wanted != found or has_no_truth or (cell.augmenter and "augmenter" not in record):
        raise InputError(
            f"{cell.result} was made with other settings than the study file and the defaults give. "
            "Delete it to train again, or give another --out."
        )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the study's folder, so that two processes never train the same."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"Another process works on {out}. Wait for it, or give another --out.") from None
        yield


def _in_a_process(cell: Cell, show_progress: bool) -> None:
    try:
        call_in_a_process(run_cell, cell, show_progress)
    except ProcessKilledError:
        raise InputError(
            f"The training {cell.name} was killed, perhaps for want of memory. Run the same command again to go on."
        ) from None


def run_cell(cell: Cell, show_progress: bool = True) -> None:
    """Train one cell, unless its run is finished, evaluate it, and write its result."""
    try:
        run = RunFolder.open(cell.run)
    except InputError:
        shutil.rmtree(cell.run, ignore_errors=True)
        train(cell.data_folder, cell.run, _config(cell), show_progress=show_progress)
        run = RunFolder.open(cell.run)
    reports: dict[str, Any] = {}
    ranks: dict[str, np.ndarray] = {}
    skipped = []
    for name, evaluation in cell.evaluations.items():
        other_data = evaluation.histories and cell.data not in evaluation.histories
        if other_data or (evaluation.clean and not run.model.has_augmenter):
            skipped.append(name)
            continue
        ranks_file = cell.run / "ranks.npy"
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
    measured = None
    if cell.augmenter and run.model.has_augmenter:
        shutil.rmtree(cell.augmenter_report, ignore_errors=True)
        measured = augmenter_report(cell.run, cell.augmenter_report, truth=cell.truth)
    np.savez_compressed(cell.ranks, **ranks)  # type: ignore[arg-type]
    record = {
        "data": cell.data,
        "model": cell.model,
        "evaluations": reports,
        "skipped": skipped,
        **({"augmenter": measured} if cell.augmenter else {}),  # None: it has none
        **{name: run.record[name] for name in ("seconds", "trained_on", "data_hash", "versions")},
        **{name: run.record.get(name) for name in ("best_epoch", "epochs_run", "refit_epochs", "validation")},
        "seed": cell.seed,
        "settings": cell.config.resolved(),
        "curve": _curve(cell.run / "epochs-strict.csv"),
    }
    partial = cell.result.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.rename(cell.result)


def _config(cell: Cell) -> TrainConfig:
    if cell.trained_on == "strict":
        return cell.config
    strict = cell.result.with_name(cell.result.name.replace("--refit", "--strict"))
    epochs = json.loads(strict.read_text(encoding="utf-8"))["best_epoch"]
    settings = cell.config.as_dict()
    return TrainConfig.of(settings.pop("model") | settings | {"refit": True, "refit_epochs": epochs})


def _curve(file: Path) -> list[float]:
    if not file.exists():
        return []
    table = np.genfromtxt(file, delimiter=",", names=True, deletechars="")
    return [round(float(value), 5) for value in np.atleast_1d(table["val_ndcg@10"])]


def _left(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f", about {f'{hours} h ' if hours else ''}{minutes} min left"
